//! The sampler: it finds what nothing would drop, says how old what was dropped late is, and cries no wolf.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_cache::simulation::{Faults, Operation, SimulatedTier};
use db_cache::{
    Cache, CacheConfig, Keyspace, Loaded, Mode, Policy, ReadAt, SampleConfig, Samples, SecondTier, Tag,
};
use db_testkit::until;

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static NAMES: Keyspace<u64, u64> = Keyspace::new("sampled")
    .policy(POLICY)
    .mode(Mode::Bounded(Duration::from_secs(2)))
    .tags_of_key(|id| vec![Tag::row("users", id)]);

/// A row that every key reads, and how often it was loaded.
#[derive(Default)]
struct Row {
    value: Mutex<u64>,
    loads: AtomicU64,
}

async fn process(tier: &Arc<SimulatedTier>, sample: SampleConfig) -> Cache {
    let tier_budget = Duration::from_secs(1);
    let config = CacheConfig { tier_budget, sample: Some(sample), ..CacheConfig::default() };
    let cache = Cache::with_second_tier(config, Arc::clone(tier) as Arc<dyn SecondTier>);
    until("the feed is read", async || cache.stats().feed_lag.is_some()).await;
    cache
}

fn every(most_a_second: u32) -> SampleConfig {
    SampleConfig { most_a_second: NonZeroU32::new(most_a_second).unwrap(), ..SampleConfig::one_in(1) }
}

async fn read(cache: &Cache, row: &Arc<Row>, key: db_cache::Key<u64, u64>) -> u64 {
    let row = Arc::clone(row);
    let load = move |_| {
        row.loads.fetch_add(1, Ordering::SeqCst);
        let value = *row.value.lock().unwrap();
        async move { Ok::<_, std::io::Error>(Loaded::new(Some(value), ReadAt::Primary(None))) }
    };
    *cache.get_with(&key, load).await.unwrap().unwrap()
}

async fn samples(cache: &Cache, count: u64) -> Samples {
    let done = |samples: Samples| samples.checked + samples.undecided >= count;
    until("the samples are compared", async || done(cache.stats().samples)).await;
    cache.stats().samples
}

#[tokio::test]
async fn a_write_that_touches_no_tag_is_found_and_one_that_does_is_not() {
    let tier = Arc::new(SimulatedTier::seeded(1));
    let (cache, row) = (process(&tier, every(1_000)).await, Arc::new(Row::default()));
    read(&cache, &row, NAMES.key(1)).await;
    read(&cache, &row, NAMES.key(1)).await;
    assert_eq!(samples(&cache, 1).await.wrong, 0);

    let transaction = cache.transaction();
    transaction.touch(Tag::row("users", 1));
    transaction.before_commit().await.unwrap();
    *row.value.lock().unwrap() = 1;
    transaction.committed(None).await;
    for _ in 0..3 {
        assert_eq!(read(&cache, &row, NAMES.key(1)).await, 1);
    }
    let clean = samples(&cache, 3).await;
    assert_eq!((clean.wrong, clean.behind), (0, 0));

    *row.value.lock().unwrap() = 2;
    assert_eq!(read(&cache, &row, NAMES.key(1)).await, 1, "nobody has told the cache");
    let found = samples(&cache, clean.checked + 1).await;
    assert_eq!(found.wrong, 1);
    assert!(found.consistency().at_least < 0.9);
}

#[tokio::test]
async fn a_value_that_was_dropped_late_is_told_with_its_age() {
    let tier = Arc::new(SimulatedTier::seeded(2));
    let (one, other) = (process(&tier, every(1_000)).await, process(&tier, every(1_000)).await);
    let row = Arc::new(Row::default());
    read(&one, &row, NAMES.key(1).mode(Mode::Ttl)).await;
    until("its reader of the feed has stopped", async || {
        tier.set_faults(Operation::Feed, Faults::DOWN);
        one.stats().feed_lag.is_some_and(|lag| lag > Duration::from_millis(300))
    })
    .await;
    *row.value.lock().unwrap() = 1;
    other.invalidate(&[Tag::row("users", 1)]).await;
    let invalidated = tokio::time::Instant::now();
    until("a while has passed", async || invalidated.elapsed() > Duration::from_millis(200)).await;
    let before = one.stats().samples;
    assert_eq!(read(&one, &row, NAMES.key(1).mode(Mode::Ttl)).await, 0, "it has not heard of it");
    let found = samples(&one, before.checked + 1).await;
    assert_eq!((found.behind, found.wrong), (1, 0), "its mode allows that for as long as it is fresh");
    assert!(found.oldest >= Duration::from_millis(150), "{found:?}");
    assert!(found.oldest <= invalidated.elapsed(), "{found:?}");
}

#[tokio::test]
async fn samples_are_bounded_a_second_and_never_wait_for_in_a_read() {
    let tier = Arc::new(SimulatedTier::seeded(3));
    let (cache, row) = (process(&tier, every(5)).await, Arc::new(Row::default()));
    let started = tokio::time::Instant::now();
    for _ in 0..2_000 {
        read(&cache, &row, NAMES.key(1)).await;
    }
    samples(&cache, 5).await;
    let most = 1 + 5 + started.elapsed().as_secs() * 5 + 5;
    let loads = row.loads.load(Ordering::SeqCst);
    assert!((6..=most).contains(&loads), "{loads} loads");
    // One of ten, and the load of it hangs: no reader notices.
    let tenth = process(&tier, SampleConfig::one_in(10)).await;
    for _ in 0..100 {
        let load = |_| std::future::pending::<Result<Loaded<u64>, std::io::Error>>();
        assert_eq!(*tenth.get_with(&NAMES.key(1), load).await.unwrap().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_remembered_absence_is_compared_as_well() {
    let tier = Arc::new(SimulatedTier::seeded(4));
    let cache = process(&tier, every(1_000)).await;
    let value = Arc::new(Mutex::new(None));
    let get = async || {
        let value = Arc::clone(&value);
        let load = move |_| {
            let value = *value.lock().unwrap();
            async move { Ok::<_, std::io::Error>(Loaded::new(value, ReadAt::Primary(None))) }
        };
        cache.get_with(&NAMES.key(9), load).await.unwrap().map(|value| *value)
    };
    assert_eq!(get().await, None);
    *value.lock().unwrap() = Some(3);
    assert_eq!(get().await, None, "nobody has told the cache");
    assert_eq!(samples(&cache, 1).await.wrong, 1);
}

#[tokio::test]
async fn a_sample_that_waits_for_the_second_tier_keeps_no_load_from_going_on() {
    static ONE_AT_A_TIME: Keyspace<u64, u64> = Keyspace::new("one_at_a_time")
        .policy(Policy { max_loads: NonZeroU32::MIN, ..POLICY })
        .mode(Mode::Bounded(Duration::from_secs(2)))
        .tags_of_key(|id| vec![Tag::row("users", id)]);
    let tier = Arc::new(SimulatedTier::seeded(5));
    let (cache, row) = (process(&tier, every(1_000)).await, Arc::new(Row::default()));
    for key in [1, 2] {
        read(&cache, &row, ONE_AT_A_TIME.key(key)).await;
    }
    *row.value.lock().unwrap() = 1;
    tier.set_faults(Operation::Read, Faults { hang: 1.0, ..Faults::NONE });
    for key in [1, 2] {
        assert_eq!(read(&cache, &row, ONE_AT_A_TIME.key(key)).await, 0, "nobody has told the cache");
    }
    // Both differ, and so both ask the tier, which does not answer.
    until("both are loaded again", async || row.loads.load(Ordering::SeqCst) == 4).await;
}
