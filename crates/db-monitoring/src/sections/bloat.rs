//! How much of tables and indexes could be given back, by estimate.

use crate::bloat::BloatKind;
use crate::panel::{Column, Panel, Table, Value};
use crate::server::Snapshot;

/// The bloat of the databases that were looked into, what wastes most first.
pub(crate) fn bloat(snapshot: &Snapshot) -> Panel {
    let mut panel = Panel::new("bloat", "Bloat").note(
        "An estimate from statistics, alignment and fill factor counted; relations under 100 pages are left out.",
    );
    let columns = [
        Column::new("relation", "Table or index"),
        Column::new("kind", "Kind"),
        Column::new("database", "Database"),
        Column::new("wasted_bytes", "Could be given back"),
        Column::new("bloat_percent", "Bloat"),
        Column::new("size_bytes", "Size"),
    ];
    let mut table = Table::new("bloat", columns).when_empty("No relation of 100 pages or more was found.");
    for (database, of) in &snapshot.by_database {
        let schema = match of.schema.get() {
            Ok(schema) => schema,
            Err(why) => {
                panel = panel.missing(format!("{database}: {}", why.detail));
                continue;
            }
        };
        let bloats = match &schema.bloat {
            Some(Ok(bloats)) => bloats,
            Some(Err(why)) => {
                panel = panel.missing(format!("{database}: {why}"));
                continue;
            }
            None => continue,
        };
        for of in &bloats.found {
            let kind = match of.kind {
                BloatKind::Table => "table",
                BloatKind::Index => "index",
            };
            table = table.row([
                Value::text(&*of.relation),
                Value::text(kind),
                Value::text(database.as_str()),
                Value::Bytes(of.wasted()),
                Value::Percent(of.bloat_percent),
                Value::Bytes(of.bytes as f64),
            ]);
        }
        for (relation, why) in bloats.unknown.iter().take(10) {
            panel = panel.missing(format!("{relation}: {why}"));
        }
    }
    if snapshot.by_database.is_empty() {
        panel = panel.missing("the database could not be looked into");
    }
    panel.table(table)
}
