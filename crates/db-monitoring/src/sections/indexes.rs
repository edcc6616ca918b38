//! Which indexes nobody uses, which are broken, and where one may be missing.

use super::{at, bytes, count, qualified, why};
use crate::panel::{Column, Panel, Table, Value};
use crate::server::Snapshot;

/// A table is worth an index from so many rows on that one sequential scan reads.
const MANY_ROWS_A_SCAN: i64 = 10_000;

/// Missing and unused indexes.
pub(crate) fn indexes(snapshot: &Snapshot) -> Panel {
    let page = snapshot.server.get().map_or(8_192, |server| server.block_size);
    let mut panel = Panel::new("indexes", "Indexes").note(
        "An index counts as unused on this server since its statistics began; a standby may use it. \
         One that keeps values unique is never listed as unused.",
    );
    let mut invalid = columns_of("invalid").titled("Invalid").when_empty("All indexes are valid.");
    let mut unused = columns_of("unused").titled("Never scanned").when_empty("Each index was scanned.");
    let mut usage = columns_of("usage").titled("All, the largest first");
    let mut scans = Table::new(
        "sequential",
        [
            Column::new("table", "Table"),
            Column::new("database", "Database"),
            Column::new("rows_a_scan", "Rows read a scan"),
            Column::new("scans", "Sequential scans"),
            Column::new("live_rows", "Live rows"),
        ],
    )
    .titled("Read from end to end: an index may be missing")
    .when_empty("No large table is read from end to end.");
    let (mut unused_bytes, mut all) = (0_i64, Vec::new());
    for (database, of) in &snapshot.by_database {
        match of.indexes.get() {
            Ok(indexes) => all.extend(indexes.iter().map(|index| (database, index))),
            Err(skipped) => panel = panel.missing(format!("{database}: {}", why(skipped))),
        }
        for table in of.tables.get().into_iter().flatten() {
            let a_scan = table.seq_tup_read.checked_div(table.seq_scan).unwrap_or(0);
            if a_scan >= MANY_ROWS_A_SCAN {
                scans = scans.row([
                    Value::text(qualified(&table.schemaname, &table.relname)),
                    Value::text(database.as_str()),
                    count(a_scan),
                    count(table.seq_scan),
                    count(table.n_live_tup),
                ]);
            }
        }
    }
    scans.rows.sort_by(|a, b| reads(b).total_cmp(&reads(a)));
    all.sort_by_key(|(_, index)| std::cmp::Reverse(index.relpages));
    for (database, index) in all {
        let row = || {
            [
                Value::text(qualified(&index.schemaname, &index.indexrelname)),
                Value::text(database.as_str()),
                Value::text(qualified(&index.schemaname, &index.relname)),
                bytes(index.relpages.saturating_mul(page)),
                count(index.idx_scan),
                at(index.last_idx_scan),
            ]
        };
        if !index.indisvalid || !index.indisready {
            invalid = invalid.row(row());
        } else if index.idx_scan == 0 && !index.indisunique && !index.indisprimary {
            unused_bytes += index.relpages.saturating_mul(page);
            unused = unused.row(row());
        }
        usage = usage.row(row());
    }
    panel
        .figure("indexes", "Indexes", Value::Count(usage.rows.len() as u64))
        .figure("invalid", "Invalid", Value::Count(invalid.rows.len() as u64))
        .figure("unused", "Never scanned", Value::Count(unused.rows.len() as u64))
        .figure("unused_bytes", "Room that these take", bytes(unused_bytes))
        .table(invalid)
        .table(scans)
        .table(unused)
        .table(usage)
}

fn reads(row: &crate::panel::Row) -> f64 {
    let number = |column: usize| row.cells.get(column).and_then(Value::as_number).unwrap_or(0.0);
    number(2) * number(3)
}

fn columns_of(key: &str) -> Table {
    Table::new(
        key,
        [
            Column::new("index", "Index"),
            Column::new("database", "Database"),
            Column::new("table", "Table"),
            Column::new("size_bytes", "Size"),
            Column::new("scans", "Scans"),
            Column::new("last_scan_at", "Last scan"),
        ],
    )
}
