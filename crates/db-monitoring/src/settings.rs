//! The settings of monitoring, read into [`MonitoringConfig`].

#[cfg(feature = "alerts")]
mod alerts;

use std::time::Duration;

use db_core::settings::{FromSettings, Group, Limit, Reader, Setting};

use crate::MonitoringConfig;

const ENABLED: Setting<bool> = Setting {
    name: "MONITORING_ENABLED",
    aliases: &[],
    meaning: "Watch statements: what they cost, which are slow, which fail. `false` turns everything here off.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const METRICS: Setting<bool> = Setting {
    name: "DB_ENABLE_METRICS",
    aliases: &[],
    meaning: "Count durations, rows, bytes and errors of each statement, and report them to OpenTelemetry where the \
              service asks for that. What pools and routing count is always kept.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const SLOW_QUERY_THRESHOLD: Setting<Limit> = Setting {
    name: "DB_SLOW_QUERY_THRESHOLD",
    aliases: &["SLOW_QUERY_THRESHOLD"],
    meaning: "A statement that takes this long is slow: it is counted, kept for `Db::slow_queries`, and logged; `never` or 0 \
              turns that off.",
    default: [
        Limit::after(Duration::from_millis(200)),
        Limit::NEVER,
        Limit::after(Duration::from_millis(500)),
        Limit::after(Duration::from_millis(500)),
    ],
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
const LOG_SLOW_QUERIES: Setting<bool> = Setting {
    name: "DB_LOG_SLOW_QUERIES",
    aliases: &[],
    meaning: "Log slow statements as warnings, without bind values and constants.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const LOG_QUERIES: Setting<bool> = Setting {
    name: "DB_LOG_QUERIES",
    aliases: &[],
    meaning: "Log every statement at level info, without bind values and constants.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const TRACE_LINK: Setting<u32> = Setting {
    name: "DB_TRACE_LINK",
    aliases: &[],
    meaning: "Of a hundred traces, how many name themselves in the server's log: for one transaction the \
              session's `application_name` is the service's, `#`, the trace id, `-`, and the end of the span id. \
              0 is none. It costs no round trip. Put `%a` into `log_line_prefix`.",
    default: [0; 4],
    min: 0,
    max: 100,
    unit_required: &[],
};
const COLLECT_EVERY: Setting<Limit> = Setting {
    name: "MONITORING_INTERVAL",
    aliases: &[],
    meaning: "In a build with the feature `collector`: how often the service looks at the server's activity and locks, on two \
              connections that no pool counts; counters, sizes and schemas are asked more seldom. Checks, alerts and \
              `Db::metrics` go by what it sees. `never` or 0: nobody looks.",
    default: [EACH_SECOND, Limit::NEVER, EACH_SECOND, EACH_SECOND],
    min: Limit::after(Duration::from_millis(100)),
    max: Limit::NEVER,
    unit_required: &[],
};
const EACH_SECOND: Limit = Limit::after(Duration::from_secs(1));
const HISTORY_DAYS: Setting<u32> = Setting {
    name: "METRICS_RETENTION_DAYS",
    aliases: &[],
    meaning: "For how many days a collector keeps history in the database, in tables of its own in the schema `dbp`; 0 \
              keeps it in memory only.",
    default: [0; 4],
    min: 0,
    max: 3_650,
    unit_required: &[],
};

const MONITORING: Group = Group {
    title: "Monitoring",
    settings: &[
        &ENABLED,
        &METRICS,
        &SLOW_QUERY_THRESHOLD,
        &LOG_SLOW_QUERIES,
        &LOG_QUERIES,
        &TRACE_LINK,
        &COLLECT_EVERY,
        &HISTORY_DAYS,
    ],
    elsewhere: &[],
};

impl FromSettings for MonitoringConfig {
    const GROUPS: &'static [&'static Group] = &[&MONITORING];

    fn read(from: &mut Reader<'_>) -> Self {
        MonitoringConfig {
            enabled: from.read(&ENABLED),
            metrics: from.read(&METRICS),
            slow_query_threshold: from.read(&SLOW_QUERY_THRESHOLD).into(),
            log_slow_queries: from.read(&LOG_SLOW_QUERIES),
            log_queries: from.read(&LOG_QUERIES),
            trace_link: from.read(&TRACE_LINK),
            collect_every: from.read(&COLLECT_EVERY).into(),
            history_days: from.read(&HISTORY_DAYS),
        }
    }
}
