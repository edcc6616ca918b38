//! What a statement takes from the code that runs beside it: what it drops, renames, empties or demands of
//! each row.

use super::alteration::{Alteration, AlterationKind, Column};
use super::snapshot::{Kind, Relation, Snapshot};
use super::trace::StatementTrace;

impl Relation {
    fn column(&self, number: i32) -> Option<&Column> {
        self.columns.iter().find(|column| column.number == number)
    }

    fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }
}

/// A table that got a new, empty file.
pub(crate) fn truncated(oid: i64, relation: &str) -> Alteration {
    about(oid, relation, AlterationKind::Truncated, None, None)
}

fn about(
    oid: i64,
    relation: &str,
    kind: AlterationKind,
    column: Option<&str>,
    now: Option<&str>,
) -> Alteration {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Alteration { relation: relation.to_owned(), kind, column: owned(column), now: owned(now), oid }
}

/// What became otherwise between two moments of what was there at `origin`.
pub(crate) fn between(before: &Snapshot, after: &Snapshot, origin: &Snapshot) -> Vec<Alteration> {
    let mut all = Vec::new();
    for (oid, was) in before.relations.iter().filter(|(_, was)| was.kind != Kind::Index) {
        let Some(at_first) = origin.relations.get(oid) else { continue };
        let Some(is) = after.relations.get(oid) else {
            let is_table = matches!(was.kind, Kind::Table | Kind::Partitioned);
            let kind = if is_table { AlterationKind::DroppedTable } else { AlterationKind::DroppedView };
            all.push(about(*oid, &was.name, kind, None, None));
            continue;
        };
        if was.full_name != is.full_name {
            all.push(about(*oid, &was.name, AlterationKind::Renamed, None, Some(&is.name)));
        }
        if !was.row_security && is.row_security {
            all.push(about(*oid, &was.name, AlterationKind::RowSecurity, None, None));
        }
        if was.columns != is.columns {
            columns(*oid, [at_first, was, is], &mut all);
        }
    }
    all
}

fn columns(oid: i64, [at_first, was, is]: [&Relation; 3], all: &mut Vec<Alteration>) {
    for column in was.columns.iter().filter(|column| at_first.column(column.number).is_some()) {
        let name = Some(column.name.as_str());
        match is.column(column.number) {
            None => all.push(about(oid, &was.name, AlterationKind::DroppedColumn, name, None)),
            Some(now) if now.name != column.name => {
                let kind = AlterationKind::RenamedColumn;
                all.push(about(oid, &was.name, kind, name, Some(&now.name)));
            }
            Some(_) => {}
        }
    }
    for column in is.columns.iter() {
        let name = Some(column.name.as_str());
        let was_required = was.column(column.number).is_some_and(Column::is_required);
        let first = at_first.column(column.number);
        // NULL where NULL was is another matter: the code that runs may never write it.
        let is_new = first.is_none_or(|first| first.not_null && first.has_default);
        if column.is_required() && !was_required && is_new {
            all.push(about(oid, &was.name, AlterationKind::RequiredColumn, name, None));
        }
        if column.is_json && was.column(column.number).is_none() {
            all.push(about(oid, &was.name, AlterationKind::JsonColumn, name, None));
        }
    }
}

/// Takes back what a later statement of the same transaction made good: nobody has seen it.
pub(crate) fn keep_lasting(traces: &mut [StatementTrace], end: &Snapshot) {
    let named = |name: &str| end.relations.values().any(|relation| relation.name == name);
    for trace in traces {
        trace.alterations.retain(|one| {
            let now = end.relations.get(&one.oid);
            let column = one.column.as_deref().unwrap_or_default();
            match one.kind {
                AlterationKind::DroppedView | AlterationKind::Renamed => !named(&one.relation),
                AlterationKind::RenamedColumn => now.is_none_or(|now| !now.has_column(column)),
                AlterationKind::RequiredColumn => now
                    .is_some_and(|now| now.columns.iter().any(|one| one.name == column && one.is_required())),
                AlterationKind::RowSecurity => now.is_some_and(|now| now.row_security),
                _ => true,
            }
        });
    }
}
