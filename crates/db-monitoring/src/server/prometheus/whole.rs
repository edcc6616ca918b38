//! What counts for a server as a whole, and for each of its databases.

use std::collections::BTreeMap;

use crate::server::prometheus::text::{Exposition, Labels, float, metric_name};
use crate::server::{DatabaseStats, Snapshot};

pub(super) fn write(text: &mut Exposition, snapshot: &Snapshot) {
    server(text, snapshot);
    databases(text, snapshot);
    writers(text, snapshot);
    io(text, snapshot);
}

/// What is read a minute apart or more.
pub(super) fn write_slow(text: &mut Exposition, snapshot: &Snapshot) {
    settings(text, snapshot);
    statements(text, snapshot);
}

fn server(text: &mut Exposition, snapshot: &Snapshot) {
    let Ok(server) = snapshot.server.get() else { return };
    let endpoint = server.endpoint.to_string();
    let timeline = server.timeline.map(|number| number.to_string()).unwrap_or_default();
    let short = server.version.split(' ').next().unwrap_or_default();
    text.family("pg_static", "The server's version.", "gauge");
    text.sample(&[("server", &endpoint), ("short_version", short), ("version", &server.version)], 1.0);
    text.family("dbp_server_info", "Which server it is.", "gauge");
    let system = server.system_identifier.as_deref().unwrap_or_default();
    text.sample(
        &[
            ("server", &endpoint),
            ("system_identifier", system),
            ("role", server.role.as_str()),
            ("timeline", &timeline),
        ],
        1.0,
    );
    if let Some(started) = server.started {
        text.single("pg_postmaster_start_time_seconds", "When the server was started.", "gauge", started);
    }
    text.single(
        "dbp_clock_ahead_seconds",
        "How far its clock is ahead of ours.",
        "gauge",
        server.clock_ahead,
    );
}

/// A figure of a row, where it has one.
pub(super) type Figure<R> = (&'static str, &'static str, &'static str, fn(&R) -> Option<f64>);

macro_rules! figures {
    ($row:ty, $prefix:literal, $kind:literal: $($name:literal = |$it:ident| $value:expr;)*) => {
        &[$((concat!($prefix, $name), concat!("`", $name, "` as the manual has \
            it."), $kind, (|$it: &$row| $value)
            as fn(&$row) -> Option<f64>)),*] as &[$crate::server::prometheus::whole::Figure<$row>]
    };
}
pub(super) use figures;

/// Writes figures of rows, each under labels of its own.
pub(super) fn write_rows<'a, R: 'a>(
    text: &mut Exposition,
    figures: &[Figure<R>],
    rows: impl Iterator<Item = &'a (Labels, &'a R)> + Clone,
) {
    for (name, help, kind, value) in figures {
        text.family(name, help, kind);
        for (labels, row) in rows.clone() {
            if let Some(value) = value(row) {
                text.sample_of(labels, value);
            }
        }
    }
}

fn seconds(milliseconds: Option<f64>) -> Option<f64> {
    milliseconds.map(|time| time / 1_000.0)
}

fn databases(text: &mut Exposition, snapshot: &Snapshot) {
    if let Ok(sizes) = snapshot.database_sizes.get() {
        text.family("pg_database_size_bytes", "The size of a database on disk.", "gauge");
        for size in sizes {
            if let Some(bytes) = size.bytes {
                text.sample(&[("datname", &size.datname)], float(bytes));
            }
        }
    }
    let Ok(databases) = snapshot.databases.get() else { return };
    text.family(
        "pg_database_connection_limit",
        "How many connections a database takes; -1 is no limit.",
        "gauge",
    );
    for database in databases {
        text.sample(&[("datname", &database.datname)], float(database.datconnlimit));
    }
    let rows: Vec<_> = databases
        .iter()
        .map(|it| (Labels::new(&[("datid", &it.datid.to_string()), ("datname", &it.datname)]), it))
        .collect();
    let counters = figures!(DatabaseStats, "pg_stat_database_", "counter":
        "xact_commit" = |it| Some(float(it.xact_commit));
        "xact_rollback" = |it| Some(float(it.xact_rollback));
        "blks_read" = |it| Some(float(it.blks_read));
        "blks_hit" = |it| Some(float(it.blks_hit));
        "tup_returned" = |it| Some(float(it.tup_returned));
        "tup_fetched" = |it| Some(float(it.tup_fetched));
        "tup_inserted" = |it| Some(float(it.tup_inserted));
        "tup_updated" = |it| Some(float(it.tup_updated));
        "tup_deleted" = |it| Some(float(it.tup_deleted));
        "conflicts" = |it| it.conflicts.map(float);
        "temp_files" = |it| it.temp_files.map(float);
        "temp_bytes" = |it| it.temp_bytes.map(float);
        "deadlocks" = |it| it.deadlocks.map(float);
        "blk_read_time" = |it| it.blk_read_time;
        "blk_write_time" = |it| it.blk_write_time;
        "stats_reset" = |it| it.stats_reset;
        "active_time_seconds_total" = |it| seconds(it.active_time);
    );
    let gauges = figures!(DatabaseStats, "pg_stat_database_",
        "gauge": "numbackends" = |it| Some(float(it.numbackends)););
    let wraparound = figures!(DatabaseStats, "pg_database_wraparound_", "gauge":
        "age_datfrozenxid_seconds" = |it| Some(float(it.frozen_xid_age));
        "age_datminmxid_seconds" = |it| Some(float(it.min_mxid_age));
    );
    let own = figures!(DatabaseStats, "dbp_database_", "counter":
        "checksum_failures_total" = |it| it.checksum_failures.map(float);
        "session_seconds_total" = |it| seconds(it.session_time);
        "idle_in_transaction_seconds_total" = |it| seconds(it.idle_in_transaction_time);
        "sessions_total" = |it| it.sessions.map(float);
        "sessions_abandoned_total" = |it| it.sessions_abandoned.map(float);
        "sessions_fatal_total" = |it| it.sessions_fatal.map(float);
        "sessions_killed_total" = |it| it.sessions_killed.map(float);
    );
    for figures in [counters, gauges, wraparound, own] {
        write_rows(text, figures, rows.iter());
    }
}

fn writers(text: &mut Exposition, snapshot: &Snapshot) {
    let mut counter = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.single(name, help, "counter", value);
        }
    };
    let checkpoints = snapshot.checkpointer.get().ok();
    if let Ok(it) = snapshot.bgwriter.get() {
        counter(
            "pg_stat_bgwriter_buffers_clean_total",
            "Pages the background writer wrote.",
            it.buffers_clean.map(float),
        );
        counter(
            "pg_stat_bgwriter_maxwritten_clean_total",
            "How often it stopped for it wrote too many.",
            it.maxwritten_clean.map(float),
        );
        counter(
            "pg_stat_bgwriter_buffers_alloc_total",
            "Pages that were given out.",
            it.buffers_alloc.map(float),
        );
        counter(
            "pg_stat_bgwriter_buffers_backend_total",
            "Pages that backends wrote.",
            it.buffers_backend.map(float),
        );
        counter(
            "pg_stat_bgwriter_buffers_backend_fsync_total",
            "fsync calls of backends.",
            it.buffers_backend_fsync.map(float),
        );
        counter("pg_stat_bgwriter_stats_reset_total", "Since when it counts.", it.stats_reset);
        // Until 16 this view has the checkpoints, too.
        if let (Some(it), true) = (checkpoints, it.buffers_backend.is_some()) {
            counter(
                "pg_stat_bgwriter_checkpoints_timed_total",
                "Checkpoints for it was time.",
                it.num_timed.map(float),
            );
            counter(
                "pg_stat_bgwriter_checkpoints_req_total",
                "Checkpoints for much was written.",
                it.num_requested.map(float),
            );
            counter("pg_stat_bgwriter_checkpoint_write_time_total", "Milliseconds writing.", it.write_time);
            counter("pg_stat_bgwriter_checkpoint_sync_time_total", "Milliseconds flushing.", it.sync_time);
            counter(
                "pg_stat_bgwriter_buffers_checkpoint_total",
                "Pages checkpoints wrote.",
                it.buffers_written.map(float),
            );
        }
    }
    if let Some(it) = checkpoints {
        counter(
            "pg_stat_checkpointer_num_timed_total",
            "Checkpoints for it was time.",
            it.num_timed.map(float),
        );
        counter(
            "pg_stat_checkpointer_num_requested_total",
            "Checkpoints for much was written.",
            it.num_requested.map(float),
        );
        counter(
            "pg_stat_checkpointer_restartpoints_timed_total",
            "The same on a standby.",
            it.restartpoints_timed.map(float),
        );
        counter(
            "pg_stat_checkpointer_restartpoints_req_total",
            "The same on a standby.",
            it.restartpoints_req.map(float),
        );
        counter(
            "pg_stat_checkpointer_restartpoints_done_total",
            "Those that were done.",
            it.restartpoints_done.map(float),
        );
        counter("pg_stat_checkpointer_write_time_total", "Milliseconds writing.", it.write_time);
        counter("pg_stat_checkpointer_sync_time_total", "Milliseconds flushing.", it.sync_time);
        counter(
            "pg_stat_checkpointer_buffers_written_total",
            "Pages written.",
            it.buffers_written.map(float),
        );
        counter("pg_stat_checkpointer_stats_reset_total", "Since when it counts.", it.stats_reset);
    }
    if let Ok(it) = snapshot.wal.get() {
        counter("dbp_wal_records_total", "Records of the log.", it.wal_records.map(float));
        counter("dbp_wal_full_page_images_total", "Whole pages in the log.", it.wal_fpi.map(float));
        counter("dbp_wal_bytes_total", "Bytes of the log.", it.wal_bytes.map(float));
        counter(
            "dbp_wal_buffers_full_total",
            "Writes for the buffers were full.",
            it.wal_buffers_full.map(float),
        );
    }
    if let Ok(it) = snapshot.archiver.get() {
        counter("pg_stat_archiver_archived_count", "Files that were archived.", it.archived_count.map(float));
        counter("pg_stat_archiver_failed_count", "Attempts that failed.", it.failed_count.map(float));
        if let Some(age) = it.last_archived_age {
            text.single("pg_stat_archiver_last_archive_age", "Seconds since the last one.", "gauge", age);
        }
    }
}

fn io(text: &mut Exposition, snapshot: &Snapshot) {
    use crate::server::IoStats;
    let Ok(rows) = snapshot.io.get() else { return };
    let rows: Vec<_> = rows
        .iter()
        .map(|it| {
            let labels =
                [("backend_type", &*it.backend_type), ("object", &it.object), ("context", &it.context)];
            (Labels::new(&labels), it)
        })
        .collect();
    let figures = figures!(IoStats, "dbp_io_", "counter":
        "reads_total" = |it| it.reads.map(float);
        "read_bytes_total" = |it| it.read_bytes.or(it.reads.zip(it.op_bytes).map(|(n,
            size)| n.saturating_mul(size))).map(float);
        "read_seconds_total" = |it| seconds(it.read_time);
        "writes_total" = |it| it.writes.map(float);
        "write_bytes_total" = |it| it.write_bytes.or(it.writes.zip(it.op_bytes).map(|(n,
            size)| n.saturating_mul(size))).map(float);
        "write_seconds_total" = |it| seconds(it.write_time);
        "extends_total" = |it| it.extends.map(float);
        "hits_total" = |it| it.hits.map(float);
        "evictions_total" = |it| it.evictions.map(float);
        "fsyncs_total" = |it| it.fsyncs.map(float);
        "fsync_seconds_total" = |it| seconds(it.fsync_time);
    );
    write_rows(text, figures, rows.iter());
}

/// Settings that are numbers, as postgres_exporter names them: with their base unit at the end.
fn settings(text: &mut Exposition, snapshot: &Snapshot) {
    let (Ok(settings), Ok(server)) = (snapshot.settings.get(), snapshot.server.get()) else { return };
    let labels = Labels::new(&[("server", &server.endpoint.to_string())]);
    for setting in settings {
        let Some((value, unit)) = setting.base_value() else { continue };
        let name = metric_name(&setting.name);
        let name = if unit.is_empty() {
            format!("pg_settings_{name}")
        } else {
            format!("pg_settings_{name}_{unit}")
        };
        text.family(&name, "Server parameter.", "gauge");
        text.sample_of(&labels, value);
    }
}

/// So many statements have series of their own: those that took the most time.
const MOST_STATEMENTS: usize = 100;

#[derive(Default)]
struct Statement {
    calls: f64,
    seconds: f64,
    rows: f64,
    read: f64,
    written: f64,
}

fn statements(text: &mut Exposition, snapshot: &Snapshot) {
    if let Ok(info) = snapshot.statements_info.get()
        && let Some(dealloc) = info.dealloc
    {
        text.single(
            "dbp_statements_evicted_total",
            "Statements that no place was left for.",
            "counter",
            float(dealloc),
        );
    }
    let Ok(statements) = snapshot.statements.get() else { return };
    let names: BTreeMap<i64, &str> =
        snapshot.databases.get().into_iter().flatten().map(|it| (it.datid, &*it.datname)).collect();
    // One statement may have several rows: nested and not, and of users, whose names are not read.
    let mut by: BTreeMap<(i64, i64, i64), Statement> = BTreeMap::new();
    for it in statements {
        let Some(id) = it.queryid else { continue };
        let sum = by.entry((it.userid, it.dbid, id)).or_default();
        sum.calls += float(it.calls);
        sum.seconds += it.total_exec_time / 1_000.0;
        sum.rows += float(it.rows);
        sum.read += it.shared_blk_read_time.unwrap_or_default() / 1_000.0;
        sum.written += it.shared_blk_write_time.unwrap_or_default() / 1_000.0;
    }
    let mut all: Vec<_> = by.into_iter().collect();
    all.sort_by(|one, other| other.1.seconds.total_cmp(&one.1.seconds));
    all.truncate(MOST_STATEMENTS);
    let rows: Vec<_> = all
        .iter()
        .map(|((user, database, id), sum)| {
            let (user, number, id) = (user.to_string(), database.to_string(), id.to_string());
            let datname = names.get(database).copied().unwrap_or(&number);
            (Labels::new(&[("userid", &user), ("datname", datname), ("queryid", &id)]), sum)
        })
        .collect();
    let figures = figures!(Statement, "pg_stat_statements_", "counter":
        "calls_total" = |it| Some(it.calls);
        "seconds_total" = |it| Some(it.seconds);
        "rows_total" = |it| Some(it.rows);
        "block_read_seconds_total" = |it| Some(it.read);
        "block_write_seconds_total" = |it| Some(it.written);
    );
    write_rows(text, figures, rows.iter());
}
