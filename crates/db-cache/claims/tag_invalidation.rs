//! cache-6: invalidating a tag that very many entries carry.

use std::time::Instant;

use db_cache::{Cache, CacheConfig, Keyspace, Loaded, Mode, ReadAt, Tag};
use serde_json::json;
use tokio::task::JoinSet;

use crate::server::{self, quantile};
use crate::{Figure, Size};

static ROWS: Keyspace<u64, u64> =
    Keyspace::new("rows").mode(Mode::Strict).tags_of_key(|_| vec![Tag::table("rows")]);

const LIMIT_US: f64 = 100.0;
const TASKS: u64 = 64;
const CALLS: usize = 200;
const SAMPLES: u64 = 1_000;
const RUNS: usize = 3;

pub(crate) fn measure(size: Size) -> Figure {
    let entries = if size == Size::Nightly { 1_000_000 } else { 100_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(entries))
}

async fn run(entries: u64) -> Figure {
    let redis = server::start().await;
    let config = CacheConfig { tier_budget: std::time::Duration::from_secs(5), ..CacheConfig::default() };
    let cache = server::cache(&redis.url(), config).await;
    let mut client = server::client(&redis.url()).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let cache = cache.clone();
        tasks.spawn(async move {
            for id in (task..entries).step_by(TASKS as usize) {
                load(&cache, id, 1).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let kept: u64 = server::ask(&mut client, &["DBSIZE"]).await;
    let loads = cache.stats().loads;
    for id in 0..SAMPLES {
        load(&cache, id * (entries / SAMPLES), 1).await;
    }
    assert_eq!(cache.stats().loads, loads, "every entry is served before");

    let tag = [Tag::table("rows")];
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            let started = Instant::now();
            cache.invalidate(&tag).await;
            calls.push(started.elapsed().as_secs_f64() * 1e6);
        }
        runs.push(quantile(&mut calls, 0.5));
    }
    server::ask::<()>(&mut client, &["CONFIG", "RESETSTAT"]).await;
    for _ in 0..CALLS {
        cache.invalidate(&tag).await;
    }
    let stats = server::info(&mut client, "commandstats").await;
    let number = |command: &str, field: &str| -> f64 {
        let said = stats.get(&format!("cmdstat_{command}")).map_or("", String::as_str);
        let found = said.split(',').find_map(|pair| pair.strip_prefix(field)?.strip_prefix('='));
        found.map_or(0.0, |number| number.parse().unwrap())
    };
    // The feed's reader, which each change wakes, calls a script too: changes tell how many of ours there
    // were.
    let scripts = number("xadd", "calls") / CALLS as f64;
    let script_us = number("evalsha", "usec_per_call");
    let swept: f64 = ["del", "unlink", "scan", "keys"].iter().map(|command| number(command, "calls")).sum();
    for id in 0..SAMPLES {
        load(&cache, id * (entries / SAMPLES), 2).await;
    }
    let served = SAMPLES.saturating_sub(cache.stats().loads - loads);
    let best = quantile(&mut runs.clone(), 0.0);
    let is_one_script = (scripts - 1.0).abs() < f64::EPSILON && swept == 0.0;
    Figure {
        value: script_us,
        unit: "us a script on the server",
        holds: script_us <= LIMIT_US && is_one_script && served == 0 && kept >= entries,
        detail: json!({
            "entries": kept, "scripts_a_call": scripts, "call_us": best, "runs_us": runs, "served_after": served,
        }),
    }
}

async fn load(cache: &Cache, id: u64, value: u64) {
    let load =
        move |_| async move { Ok::<_, std::io::Error>(Loaded::new(Some(value), ReadAt::Primary(None))) };
    cache.get_with(&ROWS.key(id), load).await.unwrap();
}
