//! What grew between two snapshots of the same server: counters that began again are left out, never
//! negative.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;

use crate::server::{
    Archiver, BgWriter, Checkpointer, DatabaseStats, IndexStats, IoStats, Section, ServerStatement,
    SkipReason, Skipped, Snapshot, TableStats, Wal,
};

/// By how much counters grew, and in which time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grown<T> {
    /// The time between both, in seconds.
    pub seconds: f64,
    /// The rows of the later snapshot, with their counters as grown; those that began again are not among
    /// them.
    pub rows: Vec<T>,
}

/// A counter.
trait Counter: Copy {
    /// By how much it grew; none if it began again.
    fn since(self, before: Self) -> Option<Self>;
}

impl Counter for i64 {
    fn since(self, before: Self) -> Option<Self> {
        self.checked_sub(before).filter(|grown| *grown >= 0)
    }
}

impl Counter for f64 {
    fn since(self, before: Self) -> Option<Self> {
        Some(self - before).filter(|grown| *grown >= 0.0)
    }
}

impl<C: Counter> Counter for Option<C> {
    fn since(self, before: Self) -> Option<Self> {
        match (self, before) {
            (Some(now), Some(before)) => now.since(before).map(Some),
            _ => Some(None),
        }
    }
}

/// A row with counters.
trait Counts: Clone {
    type Key: Hash + Eq;
    fn key(&self) -> Self::Key;
    /// Since when it counts, as far as it says so.
    fn counted_since(&self) -> Option<f64>;
    fn since(&self, before: &Self) -> Option<Self>;
    /// Whether a row that was not there before counts from nothing, as new ones do.
    const NEW_COUNTS: bool = false;
}

macro_rules! counts {
    ($row:ident by |$it:ident| $key:expr => $key_type:ty, $since:ident, $new:literal: $($field:ident),*) => {
        impl Counts for $row {
            type Key = $key_type;
            const NEW_COUNTS: bool = $new;
            fn key(&self) -> $key_type { let $it = self; $key }
            fn counted_since(&self) -> Option<f64> { counts!(@since self $since) }
            fn since(&self, before: &Self) -> Option<Self> {
                let mut grown = self.clone();
                $(grown.$field = Counter::since(self.$field, before.$field)?;)*
                Some(grown)
            }
        }
    };
    (@since $self:ident none) => { { let _ = $self; None } };
    (@since $self:ident $field:ident) => { $self.$field };
}

counts!(DatabaseStats by |it| it.datid => i64, stats_reset, false: xact_commit, xact_rollback, blks_read,
    blks_hit,
    tup_returned, tup_fetched, tup_inserted, tup_updated, tup_deleted, conflicts, temp_files, temp_bytes,
        deadlocks,
    checksum_failures, blk_read_time, blk_write_time, session_time, active_time, idle_in_transaction_time,
        sessions,
    sessions_abandoned, sessions_fatal, sessions_killed, parallel_workers_to_launch,
        parallel_workers_launched);
counts!(TableStats by |it| it.oid => i64, none, true: seq_scan, seq_tup_read, n_tup_ins, n_tup_upd, n_tup_del,
    n_tup_hot_upd, n_tup_newpage_upd, vacuum_count, autovacuum_count, analyze_count, autoanalyze_count,
        blocks_fetched,
    blocks_hit, toast_blocks_fetched, toast_blocks_hit, idx_tup_fetch_bitmap);
counts!(IndexStats by |it| it.oid => i64, none, true: idx_scan, idx_tup_read, idx_tup_fetch,
    blocks_fetched, blocks_hit);
counts!(ServerStatement by |it| (it.userid, it.dbid, it.queryid, it.toplevel) => (i64, i64, Option<i64>,
    Option<bool>),
    stats_since, true: plans, total_plan_time, calls, total_exec_time, rows, shared_blks_hit,
        shared_blks_read,
    shared_blks_dirtied, shared_blks_written, local_blks_read, temp_blks_read, temp_blks_written,
        shared_blk_read_time,
    shared_blk_write_time, temp_blk_read_time, temp_blk_write_time, wal_records, wal_bytes, jit_functions,
    jit_generation_time, jit_inlining_time, jit_optimization_time, jit_emission_time, generic_plan_calls,
    custom_plan_calls);
counts!(Wal by |_it| () => (), stats_reset, false: wal_records, wal_fpi, wal_bytes, wal_buffers_full,
    wal_write, wal_sync,
    wal_write_time, wal_sync_time);
counts!(BgWriter by |_it| () => (), stats_reset, false: buffers_clean, maxwritten_clean, buffers_alloc,
    buffers_backend,
    buffers_backend_fsync);
counts!(Checkpointer by |_it| () => (), stats_reset, false: num_timed, num_requested, num_done,
    restartpoints_timed,
    restartpoints_req, restartpoints_done, write_time, sync_time, buffers_written, slru_written);
counts!(Archiver by |_it| () => (), stats_reset, false: archived_count, failed_count);
counts!(IoStats by |it| (it.backend_type.clone(), it.object.clone(), it.context.clone()) => (String,
    String, String),
    stats_reset, false: reads, read_bytes, read_time, writes, write_bytes, write_time, writebacks,
        extends, extend_bytes,
    extend_time, hits, evictions, reuses, fsyncs, fsync_time);

fn grown<R: Counts>(
    (before, before_at): (&[R], Option<std::time::SystemTime>),
    (after, after_at): (&[R], Option<std::time::SystemTime>),
) -> Result<Grown<R>, Skipped> {
    let elapsed = after_at.zip(before_at).and_then(|(after, before)| after.duration_since(before).ok());
    let Some(elapsed) = elapsed.filter(|elapsed| !elapsed.is_zero()) else {
        return Err(Skipped::new(SkipReason::TooSoon, "nothing was counted in between"));
    };
    let before: HashMap<R::Key, &R> = before.iter().map(|row| (row.key(), row)).collect();
    let grown = |row: &R| match before.get(&row.key()) {
        Some(before) if before.counted_since() != row.counted_since() => None,
        Some(before) => row.since(before),
        None => R::NEW_COUNTS.then(|| row.clone()),
    };
    Ok(Grown { seconds: elapsed.as_secs_f64(), rows: after.iter().filter_map(grown).collect() })
}

fn many<R: Counts>(before: &Section<Vec<R>>, after: &Section<Vec<R>>) -> Result<Grown<R>, Skipped> {
    let (before_rows, after_rows) = (before.get().map_err(Clone::clone)?, after.get().map_err(Clone::clone)?);
    grown((before_rows, before.at()), (after_rows, after.at()))
}

fn single<R: Counts>(before: &Section<R>, after: &Section<R>) -> Result<Grown<R>, Skipped> {
    let (before_row, after_row) = (before.get().map_err(Clone::clone)?, after.get().map_err(Clone::clone)?);
    grown((std::slice::from_ref(before_row), before.at()), (std::slice::from_ref(after_row), after.at()))
}

/// What grew between two snapshots. A failover, a promotion and a restart end it: then nothing grew that
/// can be told.
///
/// ```
/// use db_monitoring::server::{Growth, Snapshot};
///
/// let (before, after) = (Snapshot::default(), Snapshot::default());
/// assert!(Growth::between(&before, &after).is_err());
/// ```
#[derive(Debug)]
pub struct Growth<'a> {
    before: &'a Snapshot,
    after: &'a Snapshot,
}

impl<'a> Growth<'a> {
    /// What grew from `before` to `after`.
    ///
    /// # Errors
    /// Where one is of no known server, or both are not of the same one in the same life.
    pub fn between(before: &'a Snapshot, after: &'a Snapshot) -> Result<Self, Skipped> {
        let (earlier, later) =
            (before.server.get().map_err(Clone::clone)?, after.server.get().map_err(Clone::clone)?);
        if earlier.continues(later) {
            return Ok(Growth { before, after });
        }
        let detail = format!("{} was restarted, promoted or replaced in between", later.endpoint);
        Err(Skipped::new(SkipReason::TooSoon, detail))
    }

    /// Of each database.
    ///
    /// # Errors
    /// Where either was skipped, or nothing was counted in between; so do the others.
    pub fn databases(&self) -> Result<Grown<DatabaseStats>, Skipped> {
        many(&self.before.databases, &self.after.databases)
    }

    /// Of each statement. One that is new counts from its first execution.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn statements(&self) -> Result<Grown<ServerStatement>, Skipped> {
        many(&self.before.statements, &self.after.statements)
    }

    /// Reads and writes.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn io(&self) -> Result<Grown<IoStats>, Skipped> {
        many(&self.before.io, &self.after.io)
    }

    /// What was logged.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn wal(&self) -> Result<Grown<Wal>, Skipped> {
        single(&self.before.wal, &self.after.wal)
    }

    /// The background writer.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn bgwriter(&self) -> Result<Grown<BgWriter>, Skipped> {
        single(&self.before.bgwriter, &self.after.bgwriter)
    }

    /// Checkpoints.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn checkpointer(&self) -> Result<Grown<Checkpointer>, Skipped> {
        single(&self.before.checkpointer, &self.after.checkpointer)
    }

    /// The archiver.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn archiver(&self) -> Result<Grown<Archiver>, Skipped> {
        single(&self.before.archiver, &self.after.archiver)
    }

    /// Of each table of a database.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn tables(&self, database: &str) -> Result<Grown<TableStats>, Skipped> {
        let (before, after) = (self.before.by_database.get(database), self.after.by_database.get(database));
        let (before, after) = before.zip(after).ok_or_else(Skipped::too_soon)?;
        many(&before.tables, &after.tables)
    }

    /// Of each index of a database.
    ///
    /// # Errors
    /// As [`databases`](Growth::databases).
    pub fn indexes(&self, database: &str) -> Result<Grown<IndexStats>, Skipped> {
        let (before, after) = (self.before.by_database.get(database), self.after.by_database.get(database));
        let (before, after) = before.zip(after).ok_or_else(Skipped::too_soon)?;
        many(&before.indexes, &after.indexes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use db_core::Endpoint;

    use super::*;
    use crate::server::{ServerIdentity, ServerRole};

    fn snapshot(at: u64, commits: i64, reset: f64) -> Snapshot {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        let identity = ServerIdentity::new(Endpoint::new("db", 5432), ServerRole::Primary);
        let row = DatabaseStats {
            datid: 5,
            xact_commit: commits,
            stats_reset: Some(reset),
            ..DatabaseStats::default()
        };
        Snapshot {
            server: Section::read(at, identity),
            databases: Section::read(at, vec![row]),
            ..Snapshot::default()
        }
    }

    #[test]
    fn growth_is_told_and_a_reset_is_not_negative() {
        let before = snapshot(100, 1_000, 1.0);
        let after = snapshot(110, 1_500, 1.0);
        let grown = Growth::between(&before, &after).unwrap().databases().unwrap();
        assert_eq!((grown.seconds, grown.rows[0].xact_commit), (10.0, 500));
        for reset in [snapshot(110, 20, 1.0), snapshot(110, 5_000, 105.0)] {
            let grown = Growth::between(&before, &reset).unwrap().databases().unwrap();
            assert_eq!(grown.rows, [], "a counter that began again");
        }
        assert!(Growth::between(&before, &before).unwrap().databases().is_err(), "no time has passed");
    }

    #[test]
    fn a_failover_ends_a_series() {
        let before = snapshot(100, 1_000, 1.0);
        let mut after = snapshot(110, 9_000, 1.0);
        let mut identity = before.server.get().unwrap().clone();
        identity.system_identifier = Some("7".to_owned());
        after.server = Section::read(SystemTime::now(), identity.clone());
        assert!(Growth::between(&before, &after).is_err());
        identity.system_identifier = None;
        identity.role = ServerRole::Standby;
        after.server = Section::read(SystemTime::now(), identity);
        assert!(Growth::between(&before, &after).is_err());
    }
}
