//! cache-5: Redis is killed under load and comes back, every second time with the data that it had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_cache::{Cache, CacheConfig, Keyspace, Loaded, Mode, ReadAt, Tag};
use serde_json::json;
use tokio::task::JoinSet;

use crate::server::{self, quantile};
use crate::{Figure, Size};

static ROWS: Keyspace<u64, u64> =
    Keyspace::new("rows").mode(Mode::Strict).tags_of_key(|id| vec![Tag::row("rows", id)]);

const KEYS: usize = 500;
const READERS: usize = 16;
const ADDED_MS: f64 = 5.0;
const CLOSED_MS: f64 = 1_000.0;
/// Between two kills: reads that the second tier answers.
const CALM: u64 = 2_000;
/// One outage of so many lasts until commits are answered of which nobody could be told.
const LONG: usize = 4;
/// So many of them.
const ANSWERED: u64 = 20;

/// A database of counters: what is there, and what a caller was told to be there.
#[derive(Default)]
struct World {
    rows: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
    reads: AtomicU64,
    failed: AtomicU64,
    stale: AtomicU64,
    answered: AtomicU64,
    stop: AtomicBool,
    /// Whether what reads take is of interest: from the kill on until the breaker is open.
    is_window: AtomicBool,
    calm_ms: std::sync::Mutex<Vec<f64>>,
    window_ms: std::sync::Mutex<Vec<f64>>,
}

pub(crate) fn measure(size: Size) -> Figure {
    let kills = if size == Size::Nightly { 50 } else { 10 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(kills))
}

async fn run(kills: usize) -> Figure {
    let redis = server::start().await;
    // Two processes' caches, which hear of each other through the server only.
    let (here, there) = (
        server::cache(&redis.url(), CacheConfig::default()).await,
        server::cache(&redis.url(), CacheConfig::default()).await,
    );
    let counters = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let world = Arc::new(World { rows: counters(), acknowledged: counters(), ..World::default() });
    let mut tasks = JoinSet::new();
    for reader in 0..READERS {
        let cache = if reader % 2 == 0 { here.clone() } else { there.clone() };
        tasks.spawn(read(cache, Arc::clone(&world), reader));
    }
    tasks.spawn(write(here.clone(), Arc::clone(&world)));
    let (mut closed_ms, mut used_ms) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        calm(&world, &there).await;
        if kill % 2 == 0 {
            let mut client = server::client(&redis.url()).await;
            server::ask::<()>(&mut client, &["SAVE"]).await;
        }
        world.is_window.store(true, Ordering::SeqCst);
        redis.kill().await.unwrap();
        db_testkit::until("both breakers open", async || {
            here.stats().breaker_open && there.stats().breaker_open
        })
        .await;
        world.is_window.store(false, Ordering::SeqCst);
        calm_without(&world).await;
        if kill % LONG == LONG - 1 {
            let before = world.answered.load(Ordering::SeqCst);
            db_testkit::until("commits are answered in an outage", async || {
                world.answered.load(Ordering::SeqCst) - before > ANSWERED
            })
            .await;
        }
        let hits = there.stats().second_tier_hits;
        redis.restart().await.unwrap();
        let back = Instant::now();
        db_testkit::until("both breakers are closed", async || {
            !here.stats().breaker_open && !there.stats().breaker_open
        })
        .await;
        closed_ms.push(back.elapsed().as_secs_f64() * 1e3);
        db_testkit::until("the second tier is used again", async || there.stats().second_tier_hits > hits)
            .await;
        used_ms.push(back.elapsed().as_secs_f64() * 1e3);
    }
    calm(&world, &there).await;
    world.stop.store(true, Ordering::SeqCst);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let take = |values: &std::sync::Mutex<Vec<f64>>| std::mem::take(&mut *values.lock().unwrap());
    let (mut calm_ms, mut window_ms) = (take(&world.calm_ms), take(&world.window_ms));
    let usual = quantile(&mut calm_ms, 0.99);
    let window = quantile(&mut window_ms, 0.99);
    let (added, closed) = (window - usual, quantile(&mut closed_ms, 1.0));
    let (failed, stale) = (world.failed.load(Ordering::SeqCst), world.stale.load(Ordering::SeqCst));
    Figure {
        value: added,
        unit: "ms added at p99 until the breaker opens",
        holds: failed == 0 && stale == 0 && added <= ADDED_MS && closed <= CLOSED_MS && !window_ms.is_empty(),
        detail: json!({
            "kills": kills, "reads": world.reads.load(Ordering::SeqCst), "failed": failed, "stale": stale,
            "p99_ms": usual, "window_p99_ms": window, "window_reads": window_ms.len(), "window_max_ms": quantile(&mut window_ms, 1.0), "closed_ms_at_most": closed,
            "used_again_ms_at_most": quantile(&mut used_ms, 1.0), "used_again_ms": quantile(&mut used_ms, 0.5),
            "writes": world.rows.iter().map(|row| row.load(Ordering::SeqCst)).sum::<u64>(),
        }),
    }
}

/// Waits for hits of the second tier.
async fn calm(world: &World, cache: &Cache) {
    let before = cache.stats().second_tier_hits;
    db_testkit::until("reads are hits of the second tier", async || {
        cache.stats().second_tier_hits - before > CALM
    })
    .await;
    assert_eq!(world.failed.load(Ordering::SeqCst), 0, "a read has failed");
}

/// Waits for reads without the second tier.
async fn calm_without(world: &World) {
    let before = world.reads.load(Ordering::SeqCst);
    db_testkit::until("reads go on", async || world.reads.load(Ordering::SeqCst) - before > CALM).await;
}

async fn read(cache: Cache, world: Arc<World>, reader: usize) {
    let mut turn = reader;
    while !world.stop.load(Ordering::SeqCst) {
        turn += 1;
        let id = (turn * 31 + reader * 7) % KEYS;
        let known = world.acknowledged[id].load(Ordering::SeqCst);
        let loads = Arc::clone(&world);
        let load = move |_| {
            let value = loads.rows[id].load(Ordering::SeqCst);
            async move { Ok::<_, std::io::Error>(Loaded::new(Some(value), ReadAt::Primary(None))) }
        };
        let in_window = world.is_window.load(Ordering::SeqCst) && !cache.stats().breaker_open;
        let started = Instant::now();
        let found = cache.get_with(&ROWS.key(id as u64), load).await;
        let took = started.elapsed().as_secs_f64() * 1e3;
        world.reads.fetch_add(1, Ordering::SeqCst);
        match found {
            Ok(Some(found)) => {
                world.stale.fetch_add(u64::from(*found < known), Ordering::SeqCst);
            }
            Ok(None) | Err(_) => {
                world.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
        let into = if in_window { &world.window_ms } else { &world.calm_ms };
        into.lock().unwrap().push(took);
        tokio::task::yield_now().await;
    }
}

async fn write(cache: Cache, world: Arc<World>) {
    let mut turn = 0;
    while !world.stop.load(Ordering::SeqCst) {
        turn += 1;
        let id = (turn * 17) % KEYS;
        let transaction = cache.transaction();
        transaction.touch(Tag::row("rows", id));
        transaction.before_commit().await.unwrap();
        let value = world.rows[id].fetch_add(1, Ordering::SeqCst) + 1;
        transaction.committed(None).await;
        world.acknowledged[id].store(value, Ordering::SeqCst);
        world.answered.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
