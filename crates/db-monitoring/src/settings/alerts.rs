//! The settings of alerts, read into [`AlertConfig`].

use std::time::Duration;

use db_core::settings::{FromSettings, Group, Limit, Reader, Setting, Text};

use crate::alerts::{AlertConfig, Silence};

const ENABLED: Setting<bool> = Setting {
    name: "ALERTS_ENABLED",
    aliases: &[],
    meaning: "Tell people what is wrong with the database, where `NOTIFICATION_…` says who. One replica of the service \
              does, and keeps incidents in the schema `dbp`.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};

const fn percent(name: &'static str, meaning: &'static str, default: f64) -> Setting<f64> {
    Setting { name, aliases: &[], meaning, default: [default; 4], min: 0.0, max: 100.0, unit_required: &[] }
}

const POOL_USAGE: Setting<f64> = percent(
    "ALERT_POOL_USAGE",
    "Percent of a pool's connections in use from which people are told; 0 is never.",
    80.0,
);
const CACHE_HIT_RATE: Setting<f64> = percent(
    "ALERT_CACHE_HIT_RATE",
    "Percent of reads that the cache answers below which people are told; 0 is never.",
    70.0,
);
const ERROR_RATE: Setting<f64> = percent(
    "ALERT_ERROR_RATE",
    "Percent of statements that fail over a minute from which people are told; 0 is never.",
    5.0,
);

const fn limit(name: &'static str, meaning: &'static str, default: Duration) -> Setting<Limit> {
    let default = [Limit::after(default); 4];
    let min = Limit::after(Duration::from_millis(1));
    Setting { name, aliases: &[], meaning, default, min, max: Limit::NEVER, unit_required: &[] }
}

const QUERY_TIME: Setting<Limit> = limit(
    "ALERT_QUERY_TIME",
    "The mean time of statements over a minute from which people are told; `never` or 0 turns that off.",
    Duration::from_secs(2),
);
const REPLICATION_LAG: Setting<Limit> = limit(
    "ALERT_REPLICATION_LAG",
    "How far behind a standby may be before people are told; `never` or 0 turns that off.",
    Duration::from_secs(10),
);

const fn wait(name: &'static str, meaning: &'static str, default: Duration) -> Setting<Duration> {
    let max = Duration::from_secs(24 * 3600);
    Setting {
        name,
        aliases: &[],
        meaning,
        default: [default; 4],
        min: Duration::ZERO,
        max,
        unit_required: &[],
    }
}

const RAISE_AFTER: Setting<Duration> = wait(
    "ALERT_AFTER",
    "For how long a condition must last before people are told.",
    Duration::from_secs(30),
);
const RESOLVE_AFTER: Setting<Duration> = wait(
    "ALERT_RESOLVE_AFTER",
    "For how long a condition must be gone before people are told that it is over.",
    Duration::from_secs(60),
);
const SILENCES: Text = Text {
    name: "ALERT_SILENCES",
    aliases: &[],
    meaning: "When nobody is told of what, separated by `;`: `*/bloat* @ 0 2 * * SUN for 2h` (cron, in UTC) or \
              `* @ 2026-12-24T20:00:00Z..2026-12-24T23:00:00Z`. What is still wrong afterwards is told then.",
    default: "none",
};

const ALERTS: Group = Group {
    title: "Alerts",
    settings: &[
        &ENABLED,
        &POOL_USAGE,
        &CACHE_HIT_RATE,
        &QUERY_TIME,
        &ERROR_RATE,
        &REPLICATION_LAG,
        &RAISE_AFTER,
        &RESOLVE_AFTER,
        &SILENCES,
    ],
    elsewhere: &[],
};

impl FromSettings for AlertConfig {
    const GROUPS: &'static [&'static Group] = &[&ALERTS];

    fn read(from: &mut Reader<'_>) -> Self {
        let mark = |percent: f64| (percent > 0.0).then_some(percent);
        let mut config = AlertConfig {
            enabled: from.read(&ENABLED),
            pool_usage: mark(from.read(&POOL_USAGE)),
            cache_hit_rate: mark(from.read(&CACHE_HIT_RATE)),
            query_time: from.read(&QUERY_TIME).into(),
            error_rate: mark(from.read(&ERROR_RATE)),
            replication_lag: from.read(&REPLICATION_LAG).into(),
            raise_after: from.read(&RAISE_AFTER),
            resolve_after: from.read(&RESOLVE_AFTER),
            ..AlertConfig::default()
        };
        let Some((name, text)) = from.text(&SILENCES) else { return config };
        for one in text.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            match Silence::parse(one) {
                Ok(silence) => config.silences.push(silence),
                Err(error) => from.problem(name, error.to_string()),
            }
        }
        config
    }
}
