//! What `pg_stat_statements` counts, without the texts, which are fetched once for each statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::server::record::record;

record! {
    /// A statement, as the server counts it. Times are milliseconds.
    pub struct ServerStatement: "pg_stat_statements", "@(false) AS s" {
        userid: i64;
        dbid: i64;
        /// None where the role may not see it.
        queryid: Option<i64>;
        toplevel: Option<bool>;
        plans: Option<i64>;
        total_plan_time: Option<f64>;
        calls: i64;
        total_exec_time: f64, from ["total_exec_time", "total_time"];
        min_exec_time: Option<f64>, from ["min_exec_time", "min_time"];
        max_exec_time: Option<f64>, from ["max_exec_time", "max_time"];
        mean_exec_time: Option<f64>, from ["mean_exec_time", "mean_time"];
        stddev_exec_time: Option<f64>, from ["stddev_exec_time", "stddev_time"];
        rows: i64;
        shared_blks_hit: i64;
        shared_blks_read: i64;
        shared_blks_dirtied: Option<i64>;
        shared_blks_written: Option<i64>;
        local_blks_read: Option<i64>;
        temp_blks_read: Option<i64>;
        temp_blks_written: Option<i64>;
        shared_blk_read_time: Option<f64>, from ["shared_blk_read_time", "blk_read_time"];
        shared_blk_write_time: Option<f64>, from ["shared_blk_write_time", "blk_write_time"];
        temp_blk_read_time: Option<f64>;
        temp_blk_write_time: Option<f64>;
        wal_records: Option<i64>;
        wal_bytes: Option<i64>;
        jit_functions: Option<i64>;
        jit_generation_time: Option<f64>;
        jit_inlining_time: Option<f64>;
        jit_optimization_time: Option<f64>;
        jit_emission_time: Option<f64>;
        generic_plan_calls: Option<i64>;
        custom_plan_calls: Option<i64>;
        /// In seconds since 1970; from 17 on.
        stats_since: Option<f64>, as "date_part('epoch', $)";
    }
}

record! {
    /// How well `pg_stat_statements` keeps up.
    pub struct StatementsInfo: "pg_stat_statements_info", "@ AS s" {
        dealloc: Option<i64>;
        /// In seconds since 1970.
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

/// The normal forms of statements by `queryid`, without constants and comments.
pub type StatementTexts = BTreeMap<i64, Arc<str>>;
