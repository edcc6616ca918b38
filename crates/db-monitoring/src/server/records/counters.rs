//! What the server counts as a whole, and for each database.

use crate::server::record::record;

record! {
    /// What the server counts of one database.
    pub struct DatabaseStats: "pg_stat_database", "@ AS s JOIN pg_database d ON d.oid = s.datid" {
        datid: i64;
        datname: String, as "d.datname", from [];
        datistemplate: bool, as "d.datistemplate", from [];
        datallowconn: bool, as "d.datallowconn", from [];
        /// -1 is no limit.
        datconnlimit: i64, as "d.datconnlimit", from [];
        /// How many transactions old its oldest row is that was not frozen.
        frozen_xid_age: i64, as "age(d.datfrozenxid)", from [];
        min_mxid_age: i64, as "mxid_age(d.datminmxid)", from [];
        numbackends: i64;
        xact_commit: i64;
        xact_rollback: i64;
        blks_read: i64;
        blks_hit: i64;
        tup_returned: i64;
        tup_fetched: i64;
        tup_inserted: i64;
        tup_updated: i64;
        tup_deleted: i64;
        conflicts: Option<i64>;
        temp_files: Option<i64>;
        temp_bytes: Option<i64>;
        deadlocks: Option<i64>;
        checksum_failures: Option<i64>;
        /// In milliseconds, as the next one.
        blk_read_time: Option<f64>;
        blk_write_time: Option<f64>;
        /// In milliseconds, as the next two.
        session_time: Option<f64>;
        active_time: Option<f64>;
        idle_in_transaction_time: Option<f64>;
        sessions: Option<i64>;
        sessions_abandoned: Option<i64>;
        sessions_fatal: Option<i64>;
        sessions_killed: Option<i64>;
        parallel_workers_to_launch: Option<i64>;
        parallel_workers_launched: Option<i64>;
        /// In seconds since 1970.
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

record! {
    /// How large a database is on disk.
    pub struct DatabaseSize: "pg_database", "@ AS s" {
        datname: String;
        /// None where the role may not connect to it.
        bytes: Option<i64>, as "CASE WHEN has_database_privilege(s.oid, 'CONNECT') OR \
            pg_has_role('pg_read_all_stats', 'USAGE') \
            THEN pg_database_size(s.oid) END", from ["can:pg_database_size"];
    }
}

record! {
    /// What the background writer wrote; until 16 also what checkpoints and backends wrote.
    pub struct BgWriter: "pg_stat_bgwriter", "@ AS s" {
        buffers_clean: Option<i64>;
        maxwritten_clean: Option<i64>;
        buffers_alloc: Option<i64>;
        buffers_backend: Option<i64>;
        buffers_backend_fsync: Option<i64>;
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

record! {
    /// Checkpoints, from 17 on.
    pub struct Checkpointer: "pg_stat_checkpointer", "@ AS s" {
        num_timed: Option<i64>;
        num_requested: Option<i64>;
        num_done: Option<i64>;
        restartpoints_timed: Option<i64>;
        restartpoints_req: Option<i64>;
        restartpoints_done: Option<i64>;
        /// In milliseconds, as the next one.
        write_time: Option<f64>;
        sync_time: Option<f64>;
        buffers_written: Option<i64>;
        slru_written: Option<i64>;
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

record! {
    /// Checkpoints, as they are counted until 16.
    pub(crate) struct OldCheckpointer: "pg_stat_bgwriter", "@ AS s" {
        checkpoints_timed: Option<i64>;
        checkpoints_req: Option<i64>;
        checkpoint_write_time: Option<f64>;
        checkpoint_sync_time: Option<f64>;
        buffers_checkpoint: Option<i64>;
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

impl From<OldCheckpointer> for Checkpointer {
    fn from(old: OldCheckpointer) -> Self {
        Checkpointer {
            num_timed: old.checkpoints_timed,
            num_requested: old.checkpoints_req,
            write_time: old.checkpoint_write_time,
            sync_time: old.checkpoint_sync_time,
            buffers_written: old.buffers_checkpoint,
            stats_reset: old.stats_reset,
            ..Checkpointer::default()
        }
    }
}

record! {
    /// Reads and writes by kind of process, object and context; from 16 on.
    pub struct IoStats: "pg_stat_io", "@ AS s" {
        backend_type: String;
        object: String;
        context: String;
        reads: Option<i64>;
        /// In bytes; until 17 the reads, times the size of one.
        read_bytes: Option<i64>;
        /// In milliseconds.
        read_time: Option<f64>;
        writes: Option<i64>;
        write_bytes: Option<i64>;
        write_time: Option<f64>;
        writebacks: Option<i64>;
        extends: Option<i64>;
        extend_bytes: Option<i64>;
        extend_time: Option<f64>;
        /// The bytes of one operation; until 17.
        op_bytes: Option<i64>;
        hits: Option<i64>;
        evictions: Option<i64>;
        reuses: Option<i64>;
        fsyncs: Option<i64>;
        fsync_time: Option<f64>;
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

record! {
    /// What was written to the log.
    pub struct Wal: "pg_stat_wal", "@ AS s" {
        wal_records: Option<i64>;
        wal_fpi: Option<i64>;
        wal_bytes: Option<i64>;
        wal_buffers_full: Option<i64>;
        wal_write: Option<i64>;
        wal_sync: Option<i64>;
        /// In milliseconds, as the next one.
        wal_write_time: Option<f64>;
        wal_sync_time: Option<f64>;
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

record! {
    /// What became of the log's files.
    pub struct Archiver: "pg_stat_archiver", "@ AS s" {
        archived_count: Option<i64>;
        last_archived_wal: Option<String>;
        /// In seconds.
        last_archived_age: Option<f64>, as "date_part('epoch', clock_timestamp() - \
            $)", from ["last_archived_time"];
        failed_count: Option<i64>;
        last_failed_wal: Option<String>;
        /// In seconds.
        last_failed_age: Option<f64>, as "date_part('epoch', clock_timestamp() - \
            $)", from ["last_failed_time"];
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}

record! {
    /// How often locks of a kind were waited for; from 19 on.
    pub struct LockStats: "pg_stat_lock", "@ AS s" {
        locktype: String;
        waits: Option<i64>;
        /// In milliseconds.
        wait_time: Option<f64>;
        fastpath_exceeded: Option<i64>;
        stats_reset: Option<f64>, as "date_part('epoch', $)";
    }
}
