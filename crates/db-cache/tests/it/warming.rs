//! Warming: the keys of the last run, the dearest first, at a bounded rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_cache::simulation::{Faults, Operation, SimulatedTier};
use db_cache::{
    Cache, CacheConfig, Foundation, Keyspace, LoadFrom, Loaded, LoadedMany, Policy, ReadAt, Scope,
    SecondTier, TokioClock, WarmConfig,
};
use db_testkit::until;

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static NAMES: Keyspace<u64, String> = Keyspace::new("warmed").policy(POLICY);
static OTHERS: Keyspace<u64, String> = Keyspace::new("warmed_others").policy(POLICY);

async fn process(tier: &Arc<SimulatedTier>) -> Cache {
    let config = CacheConfig { tier_budget: Duration::from_secs(1), ..CacheConfig::default() };
    let clock = Arc::new(TokioClock::start());
    let tier = Some(Arc::clone(tier) as Arc<dyn SecondTier>);
    let cache = Cache::on(config, Foundation { tier, clock, ..Foundation::default() });
    until("the feed is read", async || cache.stats().feed_lag.is_some()).await;
    cache
}

async fn read(cache: &Cache, key: db_cache::Key<u64, String>, takes: Duration) {
    let load = move |_| async move {
        tokio::time::sleep(takes).await;
        Ok::<_, std::io::Error>(Loaded::new(Some("x".to_owned()), ReadAt::Primary(None)))
    };
    cache.get_with(&key, load).await.unwrap();
}

type Names = Result<LoadedMany<u64, String, std::io::Error>, std::io::Error>;

/// A load of many that counts its keys.
fn loads(
    count: &Arc<AtomicU64>,
) -> impl Fn(LoadFrom, Vec<u64>) -> std::future::Ready<Names> + Clone + Send + Sync + use<> {
    let count = Arc::clone(count);
    move |_, keys| {
        count.fetch_add(keys.len() as u64, Ordering::SeqCst);
        let values = keys.into_iter().filter(|key| *key < 1_000).map(|key| (key, format!("name {key}")));
        std::future::ready(Ok(LoadedMany::new(values, ReadAt::Primary(None))))
    }
}

fn rate(keys_per_second: u32, keys_a_batch: u32) -> WarmConfig {
    WarmConfig {
        keys_per_second: keys_per_second.try_into().unwrap(),
        keys_a_batch: keys_a_batch.try_into().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_run_has_the_keys_that_were_dear_to_be_without_first() {
    let tier = Arc::new(SimulatedTier::seeded(1));
    let cache = process(&tier).await;
    // Dear to load; asked for often; neither; of another keyspace; with a scope.
    read(&cache, NAMES.key(1), Duration::from_millis(500)).await;
    for _ in 0..1_000 {
        read(&cache, NAMES.key(2), Duration::from_millis(2)).await;
    }
    read(&cache, NAMES.key(3), Duration::from_millis(2)).await;
    read(&cache, OTHERS.key(4), Duration::from_millis(2)).await;
    read(&cache, NAMES.key(5).within(&Scope::new().with("tenant", "7")), Duration::ZERO).await;
    assert_eq!(cache.save_hot_keys().await.unwrap(), 4);

    let next = process(&tier).await;
    assert_eq!(next.saved_keys(&NAMES).await.unwrap().keys(), [2, 1, 3]);
    assert_eq!(next.saved_keys(&OTHERS).await.unwrap().keys(), [4]);
    // A process that knows less adds what it has and takes nothing away.
    read(&next, NAMES.key(6), Duration::from_millis(900)).await;
    assert_eq!(next.save_hot_keys().await.unwrap(), 5);
    let saved = cache.saved_keys(&NAMES).await.unwrap();
    assert_eq!(saved.len(), 4);

    tier.set_faults(Operation::Read, Faults::DOWN);
    assert!(next.saved_keys(&NAMES).await.is_err() && next.save_hot_keys().await.is_err());
    assert_eq!(Cache::new(CacheConfig::default()).save_hot_keys().await.unwrap(), 0, "nowhere to save to");
}

#[tokio::test(start_paused = true)]
async fn warming_keeps_to_its_rate_tells_its_progress_and_goes_on_behind_a_failure() {
    let cache = process(&Arc::new(SimulatedTier::seeded(2))).await;
    let (count, steps) = (Arc::new(AtomicU64::new(0)), Mutex::new(Vec::new()));
    let begun = tokio::time::Instant::now();
    let progress = |warmed: &db_cache::Warmed| {
        steps.lock().unwrap().push((warmed.done, count.load(Ordering::SeqCst), begun.elapsed().as_millis()));
    };
    let keys = NAMES.keys((0..40).chain([2_000]));
    let warmed = cache.warm(&keys, rate(100, 10), progress, loads(&count)).await;
    assert_eq!((warmed.keys, warmed.done, warmed.values, warmed.absent), (41, 41, 40, 1));
    for (done, loaded, millis) in steps.into_inner().unwrap() {
        assert_eq!(done, loaded);
        assert!(u128::from(done) <= millis / 10 + 10, "{done} keys within {millis} ms");
    }
    assert!(
        warmed.took >= Duration::from_millis(400) && warmed.took < Duration::from_millis(600),
        "{warmed}"
    );

    let fails = |_: LoadFrom, keys: Vec<u64>| async move {
        match keys.contains(&50) {
            true => Err("down"),
            false => {
                Ok(LoadedMany::new(keys.into_iter().map(|key| (key, String::new())), ReadAt::Primary(None)))
            }
        }
    };
    let warmed = cache.warm(&NAMES.keys(30..70), rate(1_000, 10), |_| {}, fails).await;
    assert_eq!((warmed.done, warmed.values, warmed.failed), (40, 30, 10), "{warmed}");
}

#[tokio::test(start_paused = true)]
async fn warming_ends_when_it_is_dropped_and_asks_again_for_nothing_that_is_there() {
    let cache = process(&Arc::new(SimulatedTier::seeded(3))).await;
    let count = Arc::new(AtomicU64::new(0));
    let keys = NAMES.keys(100..200);
    let warming = cache.warm(&keys, rate(100, 10), |_| {}, loads(&count));
    assert!(tokio::time::timeout(Duration::from_millis(450), warming).await.is_err());
    assert_eq!(count.load(Ordering::SeqCst), 50);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(count.load(Ordering::SeqCst), 50);
    let before = cache.stats();
    let warmed = cache.warm(&keys, rate(100, 10), |_| {}, loads(&count)).await;
    assert_eq!((count.load(Ordering::SeqCst), warmed.values), (100, 100));
    assert_eq!(
        cache.stats().first_tier_hits,
        before.first_tier_hits,
        "looking whether it is there is no read"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_told_to_saves_by_itself() {
    let tier = Arc::new(SimulatedTier::seeded(4));
    let config = CacheConfig { warming: true, tier_budget: Duration::from_secs(1), ..CacheConfig::default() };
    let foundation = Foundation {
        tier: Some(Arc::clone(&tier) as Arc<dyn SecondTier>),
        clock: Arc::new(TokioClock::start()),
        ..Foundation::default()
    };
    let cache = Cache::on(config, foundation);
    read(&cache, NAMES.key(1), Duration::from_millis(1)).await;
    let next = process(&tier).await;
    until("it has saved", async || next.saved_keys(&NAMES).await.unwrap().len() == 1).await;
}
