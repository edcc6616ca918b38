//! Tables, indexes and sequences of one database: one pass over the catalog, which takes no lock on any of
//! them.

use std::collections::HashMap;

use crate::server::record::record;

record! {
    /// A table, materialized view or partitioned table, and what the server counts of it.
    ///
    /// Sizes are those of the last VACUUM, ANALYZE or CREATE INDEX, in pages: the true size takes a lock.
    pub struct TableStats: "pg_class", "@ AS s JOIN pg_namespace n ON n.oid = s.relnamespace \
        LEFT JOIN pg_class t ON t.oid = s.reltoastrelid AND t.relkind = 't'" {
        oid: i64;
        schemaname: String, as "n.nspname", from [];
        relname: String;
        relkind: String;
        relispartition: bool;
        relpersistence: String;
        /// -1 where it was never vacuumed or analyzed.
        reltuples: f64;
        relpages: i64;
        relallvisible: i64;
        toast_pages: i64, as "coalesce(t.relpages, 0)", from [];
        frozen_xid_age: Option<i64>, as "CASE WHEN s.relfrozenxid <> '0'::xid THEN \
            greatest(age(s.relfrozenxid), age(t.relfrozenxid)) END", from [];
        min_mxid_age: Option<i64>, as "CASE WHEN s.relminmxid <> '0'::xid THEN \
            greatest(mxid_age(s.relminmxid), mxid_age(t.relminmxid)) END", from [];
        reloptions: Option<Vec<String>>, from ["reloptions"];
        seq_scan: i64, from ["fn:pg_stat_get_numscans"];
        seq_tup_read: i64, from ["fn:pg_stat_get_tuples_returned"];
        last_seq_scan: Option<f64>, as "date_part('epoch', $)", from ["fn:pg_stat_get_lastscan"];
        n_tup_ins: i64, from ["fn:pg_stat_get_tuples_inserted"];
        n_tup_upd: i64, from ["fn:pg_stat_get_tuples_updated"];
        n_tup_del: i64, from ["fn:pg_stat_get_tuples_deleted"];
        n_tup_hot_upd: i64, from ["fn:pg_stat_get_tuples_hot_updated"];
        n_tup_newpage_upd: Option<i64>, from ["fn:pg_stat_get_tuples_newpage_updated"];
        n_live_tup: i64, from ["fn:pg_stat_get_live_tuples"];
        n_dead_tup: i64, from ["fn:pg_stat_get_dead_tuples"];
        n_mod_since_analyze: i64, from ["fn:pg_stat_get_mod_since_analyze"];
        n_ins_since_vacuum: Option<i64>, from ["fn:pg_stat_get_ins_since_vacuum"];
        /// In seconds since 1970, as the next three.
        last_vacuum: Option<f64>, as "date_part('epoch', $)", from ["fn:pg_stat_get_last_vacuum_time"];
        last_autovacuum: Option<f64>, as "date_part('epoch', \
            $)", from ["fn:pg_stat_get_last_autovacuum_time"];
        last_analyze: Option<f64>, as "date_part('epoch', $)", from ["fn:pg_stat_get_last_analyze_time"];
        last_autoanalyze: Option<f64>, as "date_part('epoch', \
            $)", from ["fn:pg_stat_get_last_autoanalyze_time"];
        vacuum_count: i64, from ["fn:pg_stat_get_vacuum_count"];
        autovacuum_count: i64, from ["fn:pg_stat_get_autovacuum_count"];
        analyze_count: i64, from ["fn:pg_stat_get_analyze_count"];
        autoanalyze_count: i64, from ["fn:pg_stat_get_autoanalyze_count"];
        blocks_fetched: i64, from ["fn:pg_stat_get_blocks_fetched"];
        blocks_hit: i64, from ["fn:pg_stat_get_blocks_hit"];
        toast_blocks_fetched: Option<i64>, as "pg_stat_get_blocks_fetched(t.oid)",
            from ["can:pg_stat_get_blocks_fetched"];
        toast_blocks_hit: Option<i64>, as "pg_stat_get_blocks_hit(t.oid)",
            from ["can:pg_stat_get_blocks_hit"];
        idx_tup_fetch_bitmap: i64, from ["fn:pg_stat_get_tuples_fetched"];
        total_vacuum_time: Option<f64>, from ["fn:pg_stat_get_total_vacuum_time"];
        total_autovacuum_time: Option<f64>, from ["fn:pg_stat_get_total_autovacuum_time"];
        total_analyze_time: Option<f64>, from ["fn:pg_stat_get_total_analyze_time"];
        total_autoanalyze_time: Option<f64>, from ["fn:pg_stat_get_total_autoanalyze_time"];
    }
}

impl TableStats {
    /// What stands behind `FROM`: users' tables, in every schema but the system's and temporary ones.
    pub(crate) const REST: &'static str = "WHERE s.relkind IN ('r', 'p', 'm') AND n.nspname NOT LIKE \
        'pg\\_%' \
        AND n.nspname <> 'information_schema'";

    /// Its size with TOAST and without indexes, in bytes, for this size of a page.
    pub fn bytes(&self, page: i64) -> i64 {
        self.relpages.saturating_add(self.toast_pages).saturating_mul(page)
    }
}

record! {
    /// An index, and what the server counts of it.
    pub struct IndexStats: "pg_class", "@ AS s JOIN pg_index i ON i.indexrelid = s.oid \
        JOIN pg_namespace n ON n.oid = s.relnamespace" {
        oid: i64;
        indexrelname: String, from ["relname"];
        schemaname: String, as "n.nspname", from [];
        /// Its table, by [`DatabaseSnapshot::collect`](crate::server::DatabaseSnapshot::collect), which has
        /// read the tables, too; empty where indexes are read alone.
        relname: String, as "''", from [];
        table_oid: i64, as "i.indrelid", from [];
        relpages: i64;
        reltuples: f64;
        indisunique: bool, as "i.indisunique", from [];
        indisprimary: bool, as "i.indisprimary", from [];
        indisvalid: bool, as "i.indisvalid", from [];
        indisready: bool, as "i.indisready", from [];
        idx_scan: i64, from ["fn:pg_stat_get_numscans"];
        last_idx_scan: Option<f64>, as "date_part('epoch', $)", from ["fn:pg_stat_get_lastscan"];
        idx_tup_read: i64, from ["fn:pg_stat_get_tuples_returned"];
        idx_tup_fetch: i64, from ["fn:pg_stat_get_tuples_fetched"];
        blocks_fetched: i64, from ["fn:pg_stat_get_blocks_fetched"];
        blocks_hit: i64, from ["fn:pg_stat_get_blocks_hit"];
    }
}

impl IndexStats {
    pub(crate) const REST: &'static str = "WHERE s.relkind = 'i' AND n.nspname NOT LIKE 'pg\\_%' \
        AND n.nspname <> 'information_schema'";

    /// Names the tables of these indexes; the index of a table that came between both looks is left out.
    pub(crate) fn of_tables(mut indexes: Vec<Self>, tables: &[TableStats]) -> Vec<Self> {
        let names: HashMap<i64, &str> = tables.iter().map(|table| (table.oid, &*table.relname)).collect();
        indexes.retain_mut(|index| match names.get(&index.table_oid) {
            Some(name) => {
                (*name).clone_into(&mut index.relname);
                true
            }
            None => false,
        });
        indexes
    }
}

record! {
    /// A sequence. One that somebody changes at the moment is not looked into, because that would wait for
    /// him.
    pub struct Sequence: "pg_sequence", "@ AS s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n \
        ON n.oid = c.relnamespace \
        LEFT JOIN (SELECT DISTINCT relation FROM pg_locks WHERE locktype = 'relation' AND mode IN \
        ('AccessExclusiveLock', 'ExclusiveLock', \
        'ShareRowExclusiveLock', 'ShareLock') AND database = (SELECT oid FROM pg_database WHERE datname = \
        current_database())) AS l \
        ON l.relation = c.oid" {
        oid: i64, from ["seqrelid"];
        schemaname: String, as "n.nspname", from [];
        sequencename: String, as "c.relname", from [];
        data_type: String, as "format_type($, NULL)", from ["seqtypid"];
        min_value: i64, from ["seqmin"];
        max_value: i64, from ["seqmax"];
        increment_by: i64, from ["seqincrement"];
        cycle: bool, from ["seqcycle"];
        /// Whether a lock is in the way.
        locked: bool, as "l.relation IS NOT NULL", from [];
        /// None where it was never used, where a lock is in the way, and where the role may not see it.
        last_value: Option<i64>, as "CASE WHEN l.relation IS NULL AND has_sequence_privilege(s.seqrelid, \
            'SELECT,USAGE') \
            THEN pg_sequence_last_value(s.seqrelid) END", from ["can:pg_sequence_last_value"];
    }
}

impl Sequence {
    pub(crate) const REST: &'static str = "WHERE c.relpersistence <> 't'";
}

record! {
    /// An extension of this database.
    pub struct Extension: "pg_extension", "@ AS s LEFT JOIN pg_available_extensions a ON a.name = s.extname" {
        extname: String;
        extversion: String;
        default_version: Option<String>, as "a.default_version", from [];
    }
}
