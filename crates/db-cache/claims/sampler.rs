//! cache-12b: the sampler finds planted stale values as often as it says it looks, and takes nothing else for
//! stale.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_cache::{CacheConfig, Keyspace, Loaded, Mode, Policy, ReadAt, SampleConfig, Tag};
use serde_json::json;

use crate::server;
use crate::{Figure, Size};

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static ROWS: Keyspace<u64, u64> = Keyspace::new("rows")
    .policy(POLICY)
    .mode(Mode::Bounded(Duration::from_secs(1)))
    .tags_of_key(|id| vec![Tag::row("rows", id)]);

const KEYS: u64 = 1_000;
const ONE_IN: u32 = 50;
/// Of so many keys one is written past the cache.
const PLANTED_ONE_IN: u64 = 20;

pub(crate) fn measure(size: Size) -> Figure {
    let reads: u64 = if size == Size::Nightly { 5_000_000 } else { 500_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Counted { hits, stale_hits, wrong, false_alarms, undecided } = runtime.block_on(count(reads));
    let looked = hits as f64 / f64::from(ONE_IN);
    let expected = stale_hits as f64 / f64::from(ONE_IN);
    // Five standard deviations of what chance alone makes of the rate: one run in two million is further off.
    let off = (wrong as f64 - expected).abs();
    let holds = off <= 5.0 * expected.sqrt() + 1.0 && wrong > 0 && false_alarms == 0;
    let detail = json!({
        "hits": hits, "stale_hits": stale_hits, "looked_at": looked, "expected": expected, "found": wrong,
        "false_alarms_while_written": false_alarms, "undecided": undecided,
    });
    Figure { value: wrong as f64 / expected.max(1.0), unit: "times what the rate says", holds, detail }
}

struct Counted {
    hits: u64,
    stale_hits: u64,
    wrong: u64,
    false_alarms: u64,
    undecided: u64,
}

async fn count(reads: u64) -> Counted {
    let redis = server::start().await;
    let sample = SampleConfig { most_a_second: NonZeroU32::MAX, ..SampleConfig::one_in(ONE_IN) };
    let config = CacheConfig {
        tier_budget: Duration::from_secs(5),
        commit_budget: Duration::from_secs(5),
        installation: "claims".to_owned(),
        sample: Some(sample),
        ..CacheConfig::default()
    };
    let cache = server::cache(&redis.url(), config).await;
    let rows: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
    let get = async |key: u64| {
        let rows = Arc::clone(&rows);
        let load = move |_| {
            let value = rows[key as usize].load(Ordering::SeqCst);
            async move { Ok::<_, std::io::Error>(Loaded::new(Some(value), ReadAt::Primary(None))) }
        };
        *cache.get_with(&ROWS.key(key), load).await.unwrap().unwrap()
    };

    // Writes that say what they touch go on all the time: none of what they change may be taken for stale.
    let stop = Arc::new(AtomicU64::new(0));
    let writer = {
        let (cache, rows, stop) = (cache.clone(), Arc::clone(&rows), Arc::clone(&stop));
        tokio::spawn(async move {
            for key in (0..KEYS).cycle() {
                if stop.load(Ordering::SeqCst) > 0 {
                    return;
                }
                let transaction = cache.transaction();
                transaction.touch(Tag::row("rows", key));
                transaction.before_commit().await.unwrap();
                rows[key as usize].fetch_add(1, Ordering::SeqCst);
                transaction.committed(None).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    for read in 0..reads / 2 {
        get(read * 7 % KEYS).await;
    }
    stop.store(1, Ordering::SeqCst);
    writer.await.unwrap();
    settle(&cache).await;
    let clean = cache.stats();

    for key in 0..KEYS {
        get(key).await;
    }
    let planted: Mutex<HashSet<u64>> = Mutex::default();
    for key in (0..KEYS).filter(|key| key.is_multiple_of(PLANTED_ONE_IN)) {
        rows[key as usize].fetch_add(1, Ordering::SeqCst);
        planted.lock().unwrap().insert(key);
    }
    settle(&cache).await;
    let (before, mut stale_hits) = (cache.stats(), 0);
    for read in 0..reads / 2 {
        let key = read * 7 % KEYS;
        stale_hits += u64::from(get(key).await != rows[key as usize].load(Ordering::SeqCst));
    }
    settle(&cache).await;
    let after = cache.stats();
    Counted {
        hits: after.first_tier_hits - before.first_tier_hits,
        stale_hits,
        wrong: after.samples.wrong - before.samples.wrong,
        false_alarms: clean.samples.wrong,
        undecided: after.samples.undecided,
    }
}

/// Waits until no sample is under way.
async fn settle(cache: &db_cache::Cache) {
    let seen = || {
        let samples = cache.stats().samples;
        samples.checked + samples.undecided
    };
    loop {
        let before = seen();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if seen() == before {
            return;
        }
    }
}
