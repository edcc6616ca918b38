//! `dbctl cache`.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use db_platform::cache::{Operator, ProcessReport, RedisTier, Samples, TierStatus};
use serde_json::{Value, json};

use crate::args::Options;
use crate::cache_args::{Cache, Invalidate};
use crate::connect;
use crate::error::CliError;
use crate::{FOUND, say};

pub(crate) async fn run(command: Cache, options: &Options) -> Result<ExitCode, CliError> {
    let operator = operator(options)?;
    let json = options.json;
    let is_well = match command {
        Cache::Stats => {
            let status = operator.status().await?;
            say::result(json, &text(&status), &object(&status));
            is_trusted(&status)
        }
        Cache::Invalidate(wanted) => {
            let (text, value) = invalidate(&operator, wanted).await?;
            say::result(json, &text, &value);
            true
        }
        Cache::Warm => {
            operator.warm().await?;
            say::result(json, "the processes are asked to warm their caches", &json!({ "asked": true }));
            true
        }
        Cache::Sample => {
            let samples = operator.samples().await?;
            say::result(json, &said(&samples), &found(&samples));
            samples.wrong == 0
        }
    };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// The second tier that the services of this environment share.
fn operator(options: &Options) -> Result<Operator, CliError> {
    let cache = connect::config(options)?.cache.unwrap_or_default();
    let tier = RedisTier::of(&cache).map_err(CliError::Cache)?.ok_or(CliError::NoSecondTier)?;
    Ok(Operator::new(Arc::new(tier), cache.installation))
}

async fn invalidate(operator: &Operator, wanted: Invalidate) -> Result<(String, Value), CliError> {
    if wanted.all {
        operator.invalidate_all().await?;
        return Ok(("everything is dropped".to_owned(), json!({ "dropped": "all" })));
    }
    let (tags, keys) = (wanted.tags.len(), wanted.key.len());
    if tags > 0 {
        operator.invalidate(&wanted.tags).await?;
    }
    for (keyspace, key) in &wanted.key {
        operator.invalidate_key(keyspace, key).await?;
    }
    let text = format!("dropped what {} and {} stand for", many(tags, "tag"), many(keys, "key"));
    Ok((text, json!({ "tags": tags, "keys": keys })))
}

fn many(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// Whether processes believe what is in it.
fn is_trusted(status: &TierStatus) -> bool {
    status.epoch.is_some_and(|epoch| epoch.run == status.run)
}

fn text(status: &TierStatus) -> String {
    let usage = &status.usage;
    let size =
        |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |bytes| format!("{:.1} MiB", mebi(bytes)));
    let limit = usage.limit_bytes.filter(|limit| *limit > 0);
    let of = limit.map_or("no limit".to_owned(), |_| format!("of {}", size(limit)));
    let policy = usage.policy.as_deref().unwrap_or("unknown policy");
    let evicted = usage.evicted.unwrap_or_default();
    let mut lines = format!("memory     {} {of}, {policy}, {evicted} evicted\n", size(usage.used_bytes));
    let trust = match (status.epoch, is_trusted(status)) {
        (None, _) => "not used yet",
        (Some(_), true) => "trusted",
        (Some(_), false) => "not trusted: the server was restarted or replaced, the next read drops them",
    };
    let _ = writeln!(lines, "entries    {trust}");
    let behind = status.members.iter().map(|member| member.behind).max().unwrap_or_default();
    let _ =
        writeln!(lines, "processes  {} read the feed, the last is {behind:?} behind", status.members.len());
    let relay = status
        .relayed
        .map_or("none has reported".to_owned(), |at| format!("caught up {:?} ago", status.now.since(at)));
    let _ = writeln!(lines, "relay      {relay}");
    for process in &status.processes {
        let ProcessReport { first_tier_hits, second_tier_hits, misses, loads, bytes, .. } = process;
        let _ = writeln!(
            lines,
            "process    {:016x}: {first_tier_hits} hits in process, {second_tier_hits} in the second tier, {misses} misses, \
             {loads} loads, {:.1} MiB",
            process.member.0,
            mebi(*bytes)
        );
    }
    for (keyspace, first, second, misses) in keyspaces(status) {
        let rate = rate(first + second, misses);
        let _ = writeln!(lines, "keyspace   {keyspace}: {rate}: {first} + {second} hits, {misses} misses");
    }
    for (keyspace, keys) in &status.saved_keys {
        let _ = writeln!(lines, "hot keys   {keyspace}: {keys} saved");
    }
    lines.trim_end().to_owned()
}

/// Each keyspace over all processes, by name.
fn keyspaces(status: &TierStatus) -> Vec<(String, u64, u64, u64)> {
    let mut all = std::collections::BTreeMap::<String, (u64, u64, u64)>::new();
    for (name, first, second, misses) in status.processes.iter().flat_map(|process| &process.keyspaces) {
        let sum = all.entry(name.clone()).or_default();
        *sum = (sum.0 + first, sum.1 + second, sum.2 + misses);
    }
    all.into_iter().map(|(name, (first, second, misses))| (name, first, second, misses)).collect()
}

fn rate(hits: u64, misses: u64) -> String {
    match hits + misses {
        0 => "not read".to_owned(),
        reads => format!("{:.1} % hits", hits as f64 / reads as f64 * 100.0),
    }
}

fn mebi(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn object(status: &TierStatus) -> Value {
    let processes = status.processes.iter().map(|process| {
        json!({
            "process": format!("{:016x}", process.member.0),
            "first_tier_hits": process.first_tier_hits,
            "second_tier_hits": process.second_tier_hits,
            "misses": process.misses,
            "loads": process.loads,
            "bytes": process.bytes,
        })
    });
    let keyspaces = keyspaces(status).into_iter().map(|(name, first, second, misses)| {
        json!({ "name": name, "first_tier_hits": first, "second_tier_hits": second, "misses": misses })
    });
    let saved = status.saved_keys.iter().map(|(name, keys)| json!({ "keyspace": name, "keys": keys }));
    json!({
        "used_bytes": status.usage.used_bytes,
        "limit_bytes": status.usage.limit_bytes,
        "evicted": status.usage.evicted,
        "policy": status.usage.policy,
        "trusted": is_trusted(status),
        "readers": status.members.len(),
        "furthest_behind_seconds": status.members.iter().map(|member| member.behind.as_secs_f64()).fold(0.0, f64::max),
        "relay_caught_up_ago_seconds": status.relayed.map(|at| status.now.since(at).as_secs_f64()),
        "processes": processes.collect::<Vec<_>>(),
        "keyspaces": keyspaces.collect::<Vec<_>>(),
        "saved_keys": saved.collect::<Vec<_>>(),
    })
}

fn said(samples: &Samples) -> String {
    if samples.checked == 0 {
        return "no hit was sampled yet: set CACHE_SAMPLE_ONE_IN where the services run".to_owned();
    }
    format!(
        "{}\nbehind within their mode: {}; not compared: {}; oldest {:?}",
        samples.consistency(),
        samples.behind,
        samples.undecided,
        samples.oldest
    )
}

fn found(samples: &Samples) -> Value {
    let consistency = samples.consistency();
    json!({
        "checked": samples.checked,
        "wrong": samples.wrong,
        "behind": samples.behind,
        "undecided": samples.undecided,
        "oldest_seconds": samples.oldest.as_secs_f64(),
        "at_least": consistency.at_least,
        "nines": consistency.nines(),
    })
}
