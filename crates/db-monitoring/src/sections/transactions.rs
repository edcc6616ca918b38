//! Transactions, rows and reads of each database, since its statistics began.

use super::{at, count, known, percent, since, some_bytes, some_count};
use crate::panel::{Column, Panel, Table, Value};
use crate::server::{DatabaseStats, Snapshot};

fn counted(databases: &[DatabaseStats]) -> impl Iterator<Item = &DatabaseStats> {
    databases.iter().filter(|database| !database.datistemplate)
}

/// Transactions and row operations.
pub(crate) fn transactions(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("transactions", "Transactions and row operations")
        .note("Counted since the statistics of each database began.");
    let (databases, panel) = match known(&snapshot.databases, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let columns = [
        Column::new("database", "Database"),
        Column::new("commits", "Commits"),
        Column::new("rollbacks", "Rollbacks"),
        Column::new("rollback_percent", "Rolled back"),
        Column::new("per_second", "A second"),
        Column::new("rows_read", "Rows read"),
        Column::new("rows_inserted", "Inserted"),
        Column::new("rows_updated", "Updated"),
        Column::new("rows_deleted", "Deleted"),
        Column::new("deadlocks", "Deadlocks"),
        Column::new("temp_bytes", "Temporary files"),
        Column::new("since_at", "Since"),
    ];
    let table = counted(databases).fold(Table::new("databases", columns), |table, of| {
        let all = of.xact_commit.saturating_add(of.xact_rollback);
        let a_second = since(of.stats_reset).filter(|age| *age > 0.0).map(|age| all as f64 / age);
        table.row([
            Value::text(&*of.datname),
            count(of.xact_commit),
            count(of.xact_rollback),
            percent(of.xact_rollback as f64, all as f64),
            a_second.map_or(Value::Missing, Value::Number),
            count(of.tup_returned.saturating_add(of.tup_fetched)),
            count(of.tup_inserted),
            count(of.tup_updated),
            count(of.tup_deleted),
            some_count(of.deadlocks),
            some_bytes(of.temp_bytes),
            at(of.stats_reset),
        ])
    });
    panel.table(table)
}

/// The hit ratio of each database, and of the tables that read most from disk.
pub(crate) fn hit_ratio(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("hit_ratio", "Buffer hit ratio")
        .note("Hits in shared buffers; what the operating system has cached counts as a read.");
    let (databases, mut panel) = match known(&snapshot.databases, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let (hit, read) = counted(databases).fold((0.0, 0.0), |(hit, read), database| {
        (hit + database.blks_hit as f64, read + database.blks_read as f64)
    });
    let columns = || {
        [
            Column::new("name", "Name"),
            Column::new("hit_percent", "Hit ratio"),
            Column::new("blocks_read", "Blocks read"),
            Column::new("blocks_hit", "Blocks hit"),
        ]
    };
    let row = |name: String, hit: i64, read: i64| {
        [Value::Text(name), percent(hit as f64, hit.saturating_add(read) as f64), count(read), count(hit)]
    };
    let by_database = counted(databases)
        .fold(Table::new("databases", columns()).titled("Databases"), |table, of| {
            table.row(row(of.datname.clone(), of.blks_hit, of.blks_read))
        });
    panel = panel.figure("hit_percent", "In all", percent(hit, hit + read)).table(by_database);
    let mut tables: Vec<_> = snapshot
        .by_database
        .values()
        .flat_map(|of| of.tables.get().into_iter().flatten())
        .map(|table| (table, table.blocks_fetched.saturating_sub(table.blocks_hit)))
        .filter(|(_, read)| *read > 0)
        .collect();
    tables.sort_by_key(|(_, read)| std::cmp::Reverse(*read));
    let by_table = tables.into_iter().take(20).fold(
        Table::new("tables", columns()).titled("Tables that read most").when_empty("No table read a block."),
        |table, (of, read)| {
            table.row(row(super::qualified(&of.schemaname, &of.relname), of.blocks_hit, read))
        },
    );
    panel.table(by_table)
}
