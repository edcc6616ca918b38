//! Sessions and locks.

use std::collections::BTreeMap;

use crate::server::prometheus::text::{Exposition, float};
use crate::server::{Backend, Snapshot};

/// A transaction is long from here on, in seconds.
const LONG: f64 = 60.0;

pub(super) fn write(text: &mut Exposition, snapshot: &Snapshot) {
    sessions(text, snapshot);
    if let Ok(locks) = snapshot.locks.get() {
        let mut counts: BTreeMap<(&str, String), i64> = BTreeMap::new();
        for lock in locks {
            let key = (lock.datname.as_deref().unwrap_or_default(), lock.mode.to_lowercase());
            let count = counts.entry(key).or_default();
            *count = count.saturating_add(lock.count);
        }
        text.family("pg_locks_count", "How many locks there are.", "gauge");
        for ((datname, mode), count) in &counts {
            text.sample(&[("datname", datname), ("mode", mode)], float(*count));
        }
    }
    if let Ok(waits) = snapshot.lock_waits.get() {
        let longest = waits.iter().filter_map(|wait| wait.waited).fold(0.0, f64::max);
        let count = i64::try_from(waits.len()).unwrap_or(i64::MAX);
        text.single("dbp_lock_waits", "How many sessions wait for a lock.", "gauge", float(count));
        text.single("dbp_lock_wait_longest_seconds", "The longest such wait.", "gauge", longest);
    }
    if let Ok(prepared) = snapshot.prepared.get() {
        let oldest = prepared.iter().filter_map(|it| it.age).fold(0.0, f64::max);
        let count = i64::try_from(prepared.len()).unwrap_or(i64::MAX);
        text.single(
            "dbp_prepared_transactions",
            "Transactions prepared for a second phase.",
            "gauge",
            float(count),
        );
        text.single("dbp_prepared_transaction_oldest_seconds", "The age of the oldest one.", "gauge", oldest);
    }
    if let Ok(stats) = snapshot.lock_stats.get() {
        text.family("dbp_lock_waits_total", "How often a lock was waited for.", "counter");
        for it in stats {
            if let Some(waits) = it.waits {
                text.sample(&[("locktype", &it.locktype)], float(waits));
            }
        }
    }
}

fn sessions(text: &mut Exposition, snapshot: &Snapshot) {
    let Ok(backends) = snapshot.activity.get() else { return };
    let clients = || backends.iter().filter(|it| it.backend_type.as_deref() == Some("client backend"));
    let mut groups: BTreeMap<[&str; 7], (i64, f64)> = BTreeMap::new();
    for it in backends.iter().filter(|it| it.datname.is_some()) {
        let key = group(it);
        let (count, longest) = groups.entry(key).or_default();
        *count = count.saturating_add(1);
        *longest = longest.max(it.xact_age.unwrap_or_default());
    }
    const NAMES: [&str; 7] =
        ["datname", "state", "usename", "application_name", "backend_type", "wait_event_type", "wait_event"];
    for (name, help, longest) in [
        ("pg_stat_activity_count", "How many sessions are in this state.", false),
        ("pg_stat_activity_max_tx_duration", "The longest open transaction, in seconds.", true),
    ] {
        text.family(name, help, "gauge");
        for (values, (count, age)) in &groups {
            let labels: Vec<_> = NAMES.into_iter().zip(values.iter().copied()).collect();
            text.sample(&labels, if longest { *age } else { float(*count) });
        }
    }
    let long = clients().filter(|it| it.xact_age.is_some_and(|age| age > LONG)).count();
    let oldest = clients().filter_map(|it| it.xact_age).fold(0.0, f64::max);
    let help = "Transactions that are open for more than a minute.";
    text.single(
        "pg_long_running_transactions",
        help,
        "gauge",
        float(i64::try_from(long).unwrap_or(i64::MAX)),
    );
    text.single("dbp_transaction_oldest_seconds", "The age of the oldest open transaction.", "gauge", oldest);
    let xmin = backends.iter().filter_map(|it| it.xmin_age).max().unwrap_or_default();
    text.single(
        "dbp_xmin_horizon_transactions",
        "How many transactions old the oldest snapshot is.",
        "gauge",
        float(xmin),
    );
}

fn group(it: &Backend) -> [&str; 7] {
    [
        &it.datname,
        &it.state,
        &it.usename,
        &it.application_name,
        &it.backend_type,
        &it.wait_event_type,
        &it.wait_event,
    ]
    .map(|value| value.as_deref().unwrap_or_default())
}
