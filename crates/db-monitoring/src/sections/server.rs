//! Which server it is, how it is set, and what it has.

use super::{at, known, some_count, some_seconds, why};
use crate::panel::{Column, Panel, Table, Value};
use crate::server::{ServerSetting, Snapshot};

/// The settings that people ask for first, in the order in which they are shown.
const ASKED_FOR: [&str; 34] = [
    "max_connections",
    "shared_buffers",
    "effective_cache_size",
    "work_mem",
    "maintenance_work_mem",
    "huge_pages",
    "random_page_cost",
    "effective_io_concurrency",
    "max_wal_size",
    "min_wal_size",
    "checkpoint_timeout",
    "checkpoint_completion_target",
    "wal_level",
    "wal_compression",
    "synchronous_commit",
    "fsync",
    "full_page_writes",
    "max_worker_processes",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "jit",
    "autovacuum",
    "autovacuum_max_workers",
    "autovacuum_vacuum_scale_factor",
    "autovacuum_vacuum_cost_limit",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "log_min_duration_statement",
    "log_lock_waits",
    "track_io_timing",
    "compute_query_id",
    "shared_preload_libraries",
    "data_checksums",
];

/// Which server it is.
pub(crate) fn server(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("server", "Server");
    let (server, mut panel) = match known(&snapshot.server, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    panel = panel
        .figure("endpoint", "Address", Value::text(server.endpoint.to_string()))
        .figure("version", "PostgreSQL", Value::text(&*server.version))
        .figure("role", "Role", Value::text(server.role.as_str()))
        .figure("started_at", "Started", at(server.started))
        .figure("clock_seconds", "Its clock is ahead by", Value::Seconds(server.clock_ahead));
    if let Ok(checkpoints) = snapshot.checkpointer.get() {
        panel = panel
            .figure("checkpoints_timed", "Checkpoints by time", some_count(checkpoints.num_timed))
            .figure("checkpoints_requested", "On request", some_count(checkpoints.num_requested));
    }
    if let Ok(access) = snapshot.access.get()
        && !access.reads_all_stats
    {
        panel = panel.text("The role that looks does not see what other roles do: GRANT pg_monitor to it.");
    }
    panel.table(progress(snapshot))
}

fn progress(snapshot: &Snapshot) -> Table {
    let columns = [
        Column::new("kind", "Under way"),
        Column::new("pid", "Session"),
        Column::new("database", "Database"),
        Column::new("phase", "Phase"),
        Column::new("done_percent", "Done"),
    ];
    let table = Table::new("progress", columns)
        .titled("Under way")
        .when_empty("No vacuum, index build, copy or backup is under way.");
    let all = snapshot.progress.get().into_iter().flatten();
    all.fold(table, |table, of| {
        let done = of.done.zip(of.total).map(|(done, total)| super::percent(done as f64, total as f64));
        table.row([
            Value::text(of.kind.replace('_', " ")),
            Value::text(of.pid.to_string()),
            Value::some_text(of.datname.clone()),
            Value::some_text(of.phase.clone()),
            done.unwrap_or(Value::Missing),
        ])
    })
}

/// The settings that matter, those that were changed, and those that wait for a restart.
pub(crate) fn settings(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("settings", "Settings and recommendations")
        .note("What people ask for first, and what was changed. Recommendations are among the checks, with their evidence.");
    let (settings, panel) = match known(&snapshot.settings, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let place = |setting: &ServerSetting| ASKED_FOR.iter().position(|name| *name == setting.name);
    let changed = |setting: &ServerSetting| {
        setting.source.as_deref().is_some_and(|source| {
            !matches!(source, "default" | "override" | "client" | "session" | "environment variable")
        })
    };
    let mut shown: Vec<&ServerSetting> =
        settings.iter().filter(|setting| place(setting).is_some() || changed(setting)).collect();
    shown.sort_by_key(|setting| (place(setting).unwrap_or(usize::MAX), setting.name.clone()));
    let columns = [
        Column::new("setting", "Setting"),
        Column::new("value", "Value"),
        Column::new("source", "From"),
        Column::new("pending_restart", "Waits for a restart"),
    ];
    let waits = settings.iter().filter(|setting| setting.pending_restart == Some(true)).count();
    let table = shown.into_iter().fold(Table::new("settings", columns), |table, setting| {
        table.row([
            Value::text(&*setting.name),
            in_words(setting),
            Value::some_text(setting.source.clone()),
            Value::text(if setting.pending_restart == Some(true) { "yes" } else { "no" }),
        ])
    });
    panel.figure("pending_restart", "Wait for a restart", Value::Count(waits as u64)).table(table)
}

fn in_words(setting: &ServerSetting) -> Value {
    match setting.base_value() {
        Some((number, "bytes")) if number >= 0.0 => Value::text(crate::panel::bytes(number)),
        Some((number, "seconds")) if number > 0.0 => Value::text(crate::panel::seconds(number)),
        _ => Value::some_text(setting.setting.clone()),
    }
}

/// The extensions of each database, and sequences that come to their end.
pub(crate) fn extensions(snapshot: &Snapshot) -> Panel {
    let mut panel = Panel::new("extensions", "Extensions and sequences");
    let mut extensions = Table::new(
        "extensions",
        [
            Column::new("extension", "Extension"),
            Column::new("database", "Database"),
            Column::new("version", "Version"),
            Column::new("newest", "Newest here"),
        ],
    );
    let mut sequences = Table::new(
        "sequences",
        [
            Column::new("sequence", "Sequence"),
            Column::new("database", "Database"),
            Column::new("used_percent", "Used"),
            Column::new("type", "Type"),
        ],
    )
    .titled("Sequences, the fullest first")
    .when_empty("There is no sequence that was used.");
    for (database, of) in &snapshot.by_database {
        match of.extensions.get() {
            Ok(all) => {
                for one in all {
                    extensions = extensions.row([
                        Value::text(&*one.extname),
                        Value::text(database.as_str()),
                        Value::text(&*one.extversion),
                        Value::some_text(one.default_version.clone()),
                    ]);
                }
            }
            Err(skipped) => panel = panel.missing(format!("{database}: {}", why(skipped))),
        }
        for one in of.sequences.get().into_iter().flatten() {
            let Some(last) = one.last_value else { continue };
            let (from, to) = if one.increment_by < 0 {
                (one.max_value, one.min_value)
            } else {
                (one.min_value, one.max_value)
            };
            let (done, whole) = (last as f64 - from as f64, to as f64 - from as f64);
            sequences = sequences.row([
                Value::text(super::qualified(&one.schemaname, &one.sequencename)),
                Value::text(database.as_str()),
                super::percent(done.abs(), whole.abs()),
                Value::text(&*one.data_type),
            ]);
        }
    }
    let used = |row: &crate::panel::Row| row.cells.get(2).and_then(Value::as_number).unwrap_or(0.0);
    sequences.rows.sort_by(|a, b| used(b).total_cmp(&used(a)));
    let lag = snapshot.statements_info.get().ok().and_then(|info| info.dealloc);
    panel = panel.figure(
        "statements_evicted",
        "Statements that pg_stat_statements had no room for",
        some_count(lag),
    );
    if let Ok(info) = snapshot.statements_info.get() {
        panel = panel.figure(
            "statements_age_seconds",
            "It counts since",
            some_seconds(super::since(info.stats_reset)),
        );
    }
    panel.table(extensions).table(sequences.at_most(50))
}
