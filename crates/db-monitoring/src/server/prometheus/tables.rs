//! Tables, indexes and sequences of each database: most of what is exported.

use std::collections::HashMap;

use crate::server::prometheus::text::{Exposition, Labels, float};
use crate::server::prometheus::whole::{figures, write_rows};
use crate::server::{IndexStats, Sequence, Snapshot, TableStats};

/// A table, with what its indexes add up to.
struct Table<'a> {
    it: &'a TableStats,
    indexes: Sum,
    page: i64,
}

#[derive(Default, Clone, Copy)]
struct Sum {
    count: i64,
    pages: i64,
    scans: i64,
    fetched: i64,
    blocks_fetched: i64,
    blocks_hit: i64,
}

pub(super) fn write(text: &mut Exposition, snapshot: &Snapshot) {
    let page = snapshot.server.get().map_or(8_192, |server| server.block_size);
    let mut tables = Vec::new();
    let mut indexes = Vec::new();
    let mut sequences = Vec::new();
    for (datname, database) in &snapshot.by_database {
        let mut sums: HashMap<i64, Sum> = HashMap::new();
        let is_known = database.indexes.get().is_ok();
        for it in database.indexes.get().into_iter().flatten() {
            let sum = sums.entry(it.table_oid).or_default();
            sum.count += 1;
            sum.pages = sum.pages.saturating_add(it.relpages);
            sum.scans = sum.scans.saturating_add(it.idx_scan);
            sum.fetched = sum.fetched.saturating_add(it.idx_tup_fetch);
            sum.blocks_fetched = sum.blocks_fetched.saturating_add(it.blocks_fetched);
            sum.blocks_hit = sum.blocks_hit.saturating_add(it.blocks_hit);
            let labels = [
                ("datname", &**datname),
                ("schemaname", &it.schemaname),
                ("relname", &it.relname),
                ("indexrelname", &it.indexrelname),
            ];
            indexes.push((Labels::new(&labels), it));
        }
        for it in database.tables.get().into_iter().flatten() {
            let labels = [("datname", &**datname), ("schemaname", &it.schemaname), ("relname", &it.relname)];
            let sum = sums.get(&it.oid).copied().unwrap_or_default();
            // Without the indexes nothing that stands on them is told.
            if is_known {
                tables.push((Labels::new(&labels), Table { it, indexes: sum, page }));
            }
        }
        for it in database.sequences.get().into_iter().flatten() {
            let labels =
                [("datname", &**datname), ("schemaname", &it.schemaname), ("sequencename", &it.sequencename)];
            sequences.push((Labels::new(&labels), it));
        }
    }
    write_tables(text, &tables);
    write_indexes(text, &indexes, page);
    let used = figures!(Sequence, "dbp_sequence_", "gauge": "used_ratio" = |it| used(it););
    write_rows(text, used, sequences.iter());
}

/// Which part of a sequence's values is used up.
fn used(it: &Sequence) -> Option<f64> {
    let (last, min, max) = (float(it.last_value?), float(it.min_value), float(it.max_value));
    let (gone, all) = if it.increment_by < 0 { (max - last, max - min) } else { (last - min, max - min) };
    (all > 0.0).then(|| gone / all)
}

fn write_tables(text: &mut Exposition, tables: &[(Labels, Table<'_>)]) {
    let rows: Vec<_> = tables.iter().map(|(labels, table)| (labels, table)).collect();
    type Of = for<'a, 'b> fn(&'b Table<'a>) -> Option<f64>;
    let counters: [(&str, Of); 16] = [
        ("pg_stat_user_tables_seq_scan", |t| Some(float(t.it.seq_scan))),
        ("pg_stat_user_tables_seq_tup_read", |t| Some(float(t.it.seq_tup_read))),
        ("pg_stat_user_tables_idx_scan", |t| Some(float(t.indexes.scans))),
        ("pg_stat_user_tables_idx_tup_fetch", |t| {
            Some(float(t.indexes.fetched.saturating_add(t.it.idx_tup_fetch_bitmap)))
        }),
        ("pg_stat_user_tables_n_tup_ins", |t| Some(float(t.it.n_tup_ins))),
        ("pg_stat_user_tables_n_tup_upd", |t| Some(float(t.it.n_tup_upd))),
        ("pg_stat_user_tables_n_tup_del", |t| Some(float(t.it.n_tup_del))),
        ("pg_stat_user_tables_n_tup_hot_upd", |t| Some(float(t.it.n_tup_hot_upd))),
        ("pg_stat_user_tables_vacuum_count", |t| Some(float(t.it.vacuum_count))),
        ("pg_stat_user_tables_autovacuum_count", |t| Some(float(t.it.autovacuum_count))),
        ("pg_stat_user_tables_analyze_count", |t| Some(float(t.it.analyze_count))),
        ("pg_stat_user_tables_autoanalyze_count", |t| Some(float(t.it.autoanalyze_count))),
        ("pg_statio_user_tables_heap_blocks_read", |t| Some(float(t.it.blocks_fetched - t.it.blocks_hit))),
        ("pg_statio_user_tables_heap_blocks_hit", |t| Some(float(t.it.blocks_hit))),
        ("pg_statio_user_tables_idx_blocks_read", |t| {
            Some(float(t.indexes.blocks_fetched - t.indexes.blocks_hit))
        }),
        ("pg_statio_user_tables_idx_blocks_hit", |t| Some(float(t.indexes.blocks_hit))),
    ];
    let more_counters: [(&str, Of); 2] = [
        ("pg_statio_user_tables_toast_blocks_read", |t| {
            Some(float(t.it.toast_blocks_fetched? - t.it.toast_blocks_hit?))
        }),
        ("pg_statio_user_tables_toast_blocks_hit", |t| t.it.toast_blocks_hit.map(float)),
    ];
    // As postgres_exporter has it, 0 stands for "never".
    let gauges: [(&str, Of); 11] = [
        ("pg_stat_user_tables_n_live_tup", |t| Some(float(t.it.n_live_tup))),
        ("pg_stat_user_tables_n_dead_tup", |t| Some(float(t.it.n_dead_tup))),
        ("pg_stat_user_tables_n_mod_since_analyze", |t| Some(float(t.it.n_mod_since_analyze))),
        ("pg_stat_user_tables_last_vacuum", |t| Some(t.it.last_vacuum.unwrap_or(0.0))),
        ("pg_stat_user_tables_last_autovacuum", |t| Some(t.it.last_autovacuum.unwrap_or(0.0))),
        ("pg_stat_user_tables_last_analyze", |t| Some(t.it.last_analyze.unwrap_or(0.0))),
        ("pg_stat_user_tables_last_autoanalyze", |t| Some(t.it.last_autoanalyze.unwrap_or(0.0))),
        ("pg_stat_user_tables_table_size_bytes", |t| Some(float(t.it.bytes(t.page)))),
        ("pg_stat_user_tables_index_size_bytes", |t| Some(float(t.indexes.pages.saturating_mul(t.page)))),
        ("dbp_table_indexes", |t| Some(float(t.indexes.count))),
        ("dbp_table_frozen_xid_age", |t| t.it.frozen_xid_age.map(float)),
    ];
    let kinds = counters.iter().chain(&more_counters).map(|one| (one, "counter"));
    for ((name, value), kind) in kinds.chain(gauges.iter().map(|one| (one, "gauge"))) {
        text.family(name, "Of a table, as the manual has it; sizes as of the last VACUUM or ANALYZE.", kind);
        for (labels, table) in &rows {
            if let Some(value) = value(table) {
                text.sample_of(labels, value);
            }
        }
    }
}

fn write_indexes(text: &mut Exposition, rows: &[(Labels, &IndexStats)], page: i64) {
    let known = figures!(IndexStats, "pg_statio_user_indexes_", "counter":
        "idx_blks_read_total" = |it| Some(float(it.blocks_fetched - it.blocks_hit));
        "idx_blks_hit_total" = |it| Some(float(it.blocks_hit));
    );
    let ours = figures!(IndexStats, "dbp_index_", "counter":
        "scans_total" = |it| Some(float(it.idx_scan));
        "rows_read_total" = |it| Some(float(it.idx_tup_read));
        "rows_fetched_total" = |it| Some(float(it.idx_tup_fetch));
    );
    write_rows(text, known, rows.iter());
    write_rows(text, ours, rows.iter());
    text.family("dbp_index_size_bytes", "The size of an index as of the last VACUUM or ANALYZE.", "gauge");
    for (labels, it) in rows {
        text.sample_of(labels, float(it.relpages.saturating_mul(page)));
    }
}
