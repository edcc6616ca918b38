//! How large tables are, how they grow, and what vacuum leaves behind.

use std::collections::HashMap;

use super::{at, bytes, count, percent, qualified, why};
use crate::panel::{Column, Panel, Row, Table, Value};
use crate::server::{Snapshot, TableStats};

fn page(snapshot: &Snapshot) -> i64 {
    snapshot.server.get().map_or(8_192, |server| server.block_size)
}

/// Sizes: databases, and tables against their indexes.
pub(crate) fn sizes(snapshot: &Snapshot) -> Panel {
    let mut panel = Panel::new("sizes", "Sizes").note(
        "Tables as of the last VACUUM or ANALYZE, because the true size takes a lock; TOAST included. \
         The change is since the period before.",
    );
    match snapshot.database_sizes.get() {
        Ok(databases) => {
            let total: i64 = databases.iter().filter_map(|database| database.bytes).sum();
            let columns = [Column::new("database", "Database"), Column::new("size_bytes", "Size")];
            let table =
                databases.iter().fold(Table::new("databases", columns).titled("Databases"), |table, of| {
                    table.row([Value::text(&*of.datname), super::some_bytes(of.bytes)])
                });
            panel = panel.figure("databases_bytes", "All databases", bytes(total)).table(table);
        }
        Err(skipped) => panel = panel.missing(why(skipped)),
    }
    let page = page(snapshot);
    let mut rows = Vec::new();
    for (database, of) in &snapshot.by_database {
        let tables = match of.tables.get() {
            Ok(tables) => tables,
            Err(skipped) => {
                panel = panel.missing(format!("{database}: {}", why(skipped)));
                continue;
            }
        };
        let mut indexes = HashMap::<i64, i64>::new();
        for index in of.indexes.get().into_iter().flatten() {
            *indexes.entry(index.table_oid).or_default() += index.relpages.saturating_mul(page);
        }
        for table in tables.iter().filter(|table| table.relkind != "p") {
            rows.push((database, table, table.bytes(page), indexes.get(&table.oid).copied().unwrap_or(0)));
        }
    }
    rows.sort_by_key(|(_, _, heap, index)| std::cmp::Reverse(heap + index));
    let (heap, index) = rows.iter().fold((0, 0), |(heap, index), row| (heap + row.2, index + row.3));
    let most = rows.first().map_or(1.0, |row| (row.2 + row.3).max(1) as f64);
    let columns = [
        Column::new("table", "Table"),
        Column::new("database", "Database"),
        Column::new("total_bytes", "Total"),
        Column::new("table_bytes", "Table"),
        Column::new("index_bytes", "Indexes"),
        Column::new("index_percent", "Indexes' share"),
        Column::new("rows", "Rows"),
    ];
    let table = rows.iter().fold(
        Table::new("tables", columns).titled("Tables"),
        |all, (database, table, heap, index)| {
            let mut row = Row::of([
                Value::text(qualified(&table.schemaname, &table.relname)),
                Value::text(database.as_str()),
                bytes(heap + index),
                bytes(*heap),
                bytes(*index),
                percent(*index as f64, (heap + index) as f64),
                if table.reltuples < 0.0 { Value::Missing } else { Value::Count(table.reltuples as u64) },
            ]);
            // The table and its indexes, against the largest.
            row.bar = vec![(1, *heap as f64 / most), (4, *index as f64 / most)];
            all.with(row)
        },
    );
    panel
        .figure("table_bytes", "Tables", bytes(heap))
        .figure("index_bytes", "Indexes", bytes(index))
        .table(table)
}

/// Dead rows, and when vacuum and analyze were last there.
pub(crate) fn vacuum(snapshot: &Snapshot) -> Panel {
    let mut panel = Panel::new("vacuum", "Dead rows and vacuum");
    let mut rows: Vec<(&String, &TableStats)> = Vec::new();
    for (database, of) in &snapshot.by_database {
        match of.tables.get() {
            Ok(tables) => {
                rows.extend(tables.iter().filter(|table| table.relkind != "p").map(|table| (database, table)))
            }
            Err(skipped) => panel = panel.missing(format!("{database}: {}", why(skipped))),
        }
    }
    rows.sort_by_key(|(_, table)| std::cmp::Reverse(table.n_dead_tup));
    let latest = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    let columns = [
        Column::new("table", "Table"),
        Column::new("database", "Database"),
        Column::new("dead_rows", "Dead rows"),
        Column::new("live_rows", "Live rows"),
        Column::new("dead_percent", "Dead"),
        Column::new("modified_rows", "Changed since analyze"),
        Column::new("last_vacuum_at", "Last vacuum"),
        Column::new("last_analyze_at", "Last analyze"),
        Column::new("freeze_age", "Transactions since freeze"),
        Column::new("hot_percent", "HOT updates"),
    ];
    let table = rows.iter().fold(Table::new("vacuum", columns), |all, (database, table)| {
        all.row([
            Value::text(qualified(&table.schemaname, &table.relname)),
            Value::text(database.as_str()),
            count(table.n_dead_tup),
            count(table.n_live_tup),
            percent(table.n_dead_tup as f64, (table.n_dead_tup + table.n_live_tup) as f64),
            count(table.n_mod_since_analyze),
            at(latest(table.last_vacuum, table.last_autovacuum)),
            at(latest(table.last_analyze, table.last_autoanalyze)),
            super::some_count(table.frozen_xid_age),
            percent(table.n_tup_hot_upd as f64, table.n_tup_upd as f64),
        ])
    });
    panel.table(table)
}
