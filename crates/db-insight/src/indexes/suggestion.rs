//! A suggested index: its statement, its migration, what it gains and what it costs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog::{Catalog, Table};
use super::kind::IndexKind;
use super::spec::Spec;

/// A suggested index for one statement of the workload.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Suggestion {
    /// The statement that it is for.
    pub case: Value,
    /// What sort of index it is; docs/query-optimization.md explains each.
    pub kind: IndexKind,
    /// The index as PostgreSQL prints it behind `ON`.
    pub index: String,
    /// The statement that makes it without blocking writers. For a partitioned table several, in their order.
    pub create: String,
    /// The part of the statement's cost that goes: 0 to 1.
    pub gain: f64,
    /// How sure that is: 0 to 1.
    pub confidence: f64,
    /// How it was found out: `built`, `hypopg` or `model`.
    pub proof: &'static str,
    /// The statement's cost in the planner's units, before and after.
    pub cost: [f64; 2],
    /// The bytes that it will take, about.
    pub bytes: u64,
    /// What has to be there before, such as an extension.
    pub requires: Vec<String>,
    /// What one should know.
    pub notes: Vec<String>,
    /// The migration in diesel's layout.
    pub migration: Migration,
}

/// A migration for one index, or for statistics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Migration {
    /// What the directory is called, behind the time.
    pub name: String,
    /// `up.sql`.
    pub up: String,
    /// `down.sql`.
    pub down: String,
    /// `metadata.toml`.
    pub metadata: String,
}

/// The bytes of a page that hold entries.
const PAGE: f64 = 8192.0 * 0.9;

/// The bytes that an index of so many entries takes.
pub(crate) fn bytes(spec: &Spec, table: &Table, entries: f64) -> f64 {
    match spec.method {
        "brin" => 24_576.0 + table.pages / 128.0 * 48.0,
        "gin" => table.pages * 8192.0 * 0.3 * (entries / table.rows.max(1.0)).min(1.0),
        "gist" => entries * 60.0,
        _ => {
            let distinct: f64 = spec
                .keys
                .iter()
                .map(|key| key.column.as_deref().map_or(entries, |name| table.distinct(name)))
                .product::<f64>()
                .min(entries);
            // Equal keys are kept once, with the places of their rows (since 13), unless there are other
            // columns.
            let each = if distinct < entries / 8.0 && spec.include.is_empty() {
                7.0
            } else {
                spec.entry_bytes(table) + 4.0
            };
            (entries * each / PAGE).ceil().max(1.0) * 8192.0 + 8192.0
        }
    }
}

/// The statements that make an index, and those that undo it.
pub(crate) fn statements(spec: &Spec, table: &Table, name: &str, catalog: &Catalog) -> (String, String) {
    let definition = spec.definition(&table.shown);
    let quoted = super::expression::quoted(name);
    let qualified = match table.shown.rsplit_once('.') {
        // A name in quotes may hold a dot.
        Some(_) if table.shown != super::expression::quoted(&table.name) => {
            format!("{}.{quoted}", super::expression::quoted(&table.schema))
        }
        _ => quoted.clone(),
    };
    if table.kind != "p" {
        return (
            format!("CREATE INDEX CONCURRENTLY {quoted} ON {definition}"),
            format!("DROP INDEX CONCURRENTLY {qualified}"),
        );
    }
    // A partitioned table cannot have one concurrently: on the parent alone, on each leaf, then attached.
    let mut steps = vec![format!("CREATE INDEX {quoted} ON ONLY {definition}")];
    for (at, leaf) in table.leaves.iter().enumerate() {
        let own = catalog.leaves(table).find(|one| one.shown == *leaf).and_then(|one| spec.same(one));
        if let Some(own) = own {
            steps.push(format!("ALTER INDEX {qualified} ATTACH PARTITION {}", own.shown));
            continue;
        }
        let mut stem = name.to_owned();
        stem.truncate(56);
        let of_leaf = super::expression::quoted(&format!("{stem}_{}", at + 1));
        let definition = spec.definition(leaf);
        steps.push(format!("CREATE INDEX CONCURRENTLY {of_leaf} ON {definition}"));
        let schema = leaf.rsplit_once('.').map(|(schema, _)| format!("{schema}.")).unwrap_or_default();
        steps.push(format!("ALTER INDEX {qualified} ATTACH PARTITION {schema}{of_leaf}"));
    }
    (steps.join(";\n"), format!("DROP INDEX {qualified}"))
}

pub(crate) fn migration(table: &Table, name: &str, up: &str, down: &str) -> Migration {
    let metadata = "# CONCURRENTLY runs in no transaction.\nrun_in_transaction = false\n";
    Migration {
        name: format!("add_{name}"),
        up: format!("{up};\n"),
        down: format!("{down};\n"),
        metadata: if table.kind == "m" || !up.is_empty() { metadata.to_owned() } else { String::new() },
    }
}

/// Where values have so many bytes on average, some may have more than an entry of a B-tree can hold.
const LONG_VALUES: f64 = 200.0;

/// What the role that asks could not do, and what the index costs writes.
pub(crate) fn notes(spec: &Spec, table: &Table, catalog: &Catalog) -> Vec<String> {
    let mut notes = Vec::new();
    if !table.owned {
        notes.push(format!("this role cannot create it: {} belongs to {}", table.shown, table.owner));
    } else if !table.may_create {
        notes.push(format!("this role cannot create it: it needs CREATE on the schema {}", table.schema));
    }
    let writes = table.inserts + table.updates;
    if table.updates > 0.0 && table.hot_updates > 0.0 {
        let share = table.hot_updates / table.updates * 100.0;
        notes.push(format!(
            "{share:.0} % of the table's updates are in-page; one that changes a column of this index no longer is"
        ));
    }
    if let Some(days) = catalog.window_days.filter(|days| *days >= 1.0) {
        notes.push(format!("each write of the table maintains it, {:.0} a day", writes / days));
    } else {
        notes.push("each write of the table maintains it; how many a day is not known yet".to_owned());
    }
    let may_be_long = |name: &str| table.width(name) >= LONG_VALUES && table.has_no_bound(name);
    let columns =
        spec.keys.iter().filter_map(|key| key.column.as_deref()).chain(spec.include.iter().map(|it| &**it));
    if spec.method == "btree"
        && let Some(long) = columns.into_iter().find(|name| may_be_long(name))
    {
        notes.push(format!(
            "values of {long} are long: one of more than 2,700 bytes makes the build fail, and later each write of \
             such a value; SELECT max(pg_column_size({long})) says how long they are"
        ));
    }
    if spec.has_expression() {
        notes.push("run ANALYZE after it is there: statistics of the expression come with it".to_owned());
    }
    notes
}
