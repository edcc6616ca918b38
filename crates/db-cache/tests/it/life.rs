//! How long a value lives: what is served when its time is over, and that each value has a life of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use db_cache::simulation::{Faults, Operation};
use db_cache::{CacheConfig, CacheError, Keyspace, Policy, Tag};

use crate::scene::{Scene, Source, after};

const TTL: Duration = Duration::from_secs(10);
const POLICY: Policy =
    Policy { ttl: Some(TTL), early_refresh: 0.0, stale_on_error: Duration::from_secs(60), ..Policy::DEFAULT };

static PLAIN: Keyspace<u8, String> =
    Keyspace::<u8, String>::new("plain").policy(POLICY).tags_of_key(|id| vec![Tag::row("life", id)]);
static BEHIND: Keyspace<u8, String> = Keyspace::<u8, String>::new("behind")
    .policy(Policy { stale_while_revalidate: Duration::from_secs(60), ..POLICY })
    .tags_of_key(|id| vec![Tag::row("life", id)]);
static SOFT: Keyspace<u8, String> = Keyspace::<u8, String>::new("soft")
    .policy(Policy { soft_timeout: Some(Duration::from_millis(100)), ..POLICY });
static HARD: Keyspace<u8, String> = Keyspace::<u8, String>::new("hard").policy(Policy {
    hard_timeout: Duration::from_millis(500),
    max_loads: std::num::NonZeroU32::MIN,
    ..POLICY
});

fn stale(value: &str) -> (String, bool) {
    (value.to_owned(), true)
}

fn fresh(value: &str) -> (String, bool) {
    (value.to_owned(), false)
}

#[tokio::test(start_paused = true)]
async fn an_expired_value_is_served_while_it_is_loaded_anew() {
    let (scene, source, key) = (Scene::new(), Source::of("one"), BEHIND.key(1));
    let cache = scene.process(CacheConfig::default()).await;
    assert_eq!(source.get(&cache, &key).await, fresh("one"));
    after(TTL).await;
    source.set("two");
    source.hang();
    assert_eq!(source.get(&cache, &key).await, stale("one"), "nobody waits");
    source.go_on();
    db_testkit::until("it is loaded anew", async || source.get(&cache, &key).await == fresh("two")).await;
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_value_is_not_served_while_it_is_loaded_anew() {
    let (scene, source, key) = (Scene::new(), Source::of("one"), BEHIND.key(2));
    let cache = scene.process(CacheConfig::default()).await;
    source.get(&cache, &key).await;
    after(TTL).await;
    source.set("two");
    cache.invalidate(&[Tag::row("life", 2)]).await;
    assert_eq!(source.get(&cache, &key).await, fresh("two"));
}

#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_a_caller_takes_a_stale_value_and_the_load_goes_on() {
    let (scene, source, key) = (Scene::new(), Source::of("one"), SOFT.key(1));
    let cache = scene.process(CacheConfig::default()).await;
    source.get(&cache, &key).await;
    after(TTL).await;
    source.set("two");
    source.hang();
    let asked = tokio::time::Instant::now();
    assert_eq!(source.get(&cache, &key).await, stale("one"));
    assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
    assert_eq!(source.loads(), 2);
    source.go_on();
    db_testkit::until("the load has ended", async || source.under_way.load(Ordering::SeqCst) == 0).await;
    assert_eq!(source.get(&cache, &key).await, fresh("two"));
    assert_eq!(source.loads(), 2, "its value was kept");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_gives_back_its_key_its_permit_its_lease_and_what_it_held() {
    let (scene, source, other) = (Scene::new(), Source::of("one"), Source::of("two"));
    let (here, there) =
        (scene.process(CacheConfig::default()).await, scene.process(CacheConfig::default()).await);
    source.hang();
    let error = source.read(&here, &HARD.key(1)).await.unwrap_err();
    assert!(matches!(error, CacheError::TimedOut(limit) if limit == Duration::from_millis(500)), "{error:?}");
    assert_eq!(source.under_way.load(Ordering::SeqCst), 0, "its connection is free");
    let asked = tokio::time::Instant::now();
    assert_eq!(other.get(&here, &HARD.key(2)).await, fresh("two"), "its permit is");
    assert_eq!(other.get(&there, &HARD.key(1)).await, fresh("two"), "its lease is");
    assert_eq!(other.get(&here, &HARD.key(1)).await, fresh("two"), "its key is");
    assert!(asked.elapsed() < Duration::from_millis(50), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_value_that_comes_after_an_error_has_its_own_full_life() {
    let (scene, source, key) = (Scene::new(), Source::of("one"), PLAIN.key(1));
    let cache = scene.process(CacheConfig::default()).await;
    source.get(&cache, &key).await;
    after(TTL).await;
    source.fails.store(true, Ordering::SeqCst);
    assert_eq!(source.get(&cache, &key).await, stale("one"));
    source.fails.store(false, Ordering::SeqCst);
    source.set("two");
    assert_eq!(source.get(&cache, &key).await, fresh("two"));
    let loads = source.loads();
    after(TTL - Duration::from_millis(50)).await;
    assert_eq!(source.get(&cache, &key).await, fresh("two"));
    assert_eq!(source.loads(), loads);
    after(Duration::from_millis(100)).await;
    source.set("three");
    assert_eq!(source.get(&cache, &key).await, fresh("three"), "and no longer one");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_loaded_after_a_takeover_has_its_own_full_life() {
    let scene = Scene::new();
    let (dead, heir) =
        (scene.process(CacheConfig::default()).await, scene.process(CacheConfig::default()).await);
    let (hangs, source) = (Source::of("one"), Source::of("two"));
    hangs.hang();
    let reads = Arc::clone(&hangs);
    let holder = tokio::spawn(async move { reads.read(&dead, &PLAIN.key(3)).await.map(drop) });
    db_testkit::until("it loads", async || hangs.loads() == 1).await;
    // It renews its lease no more, as a process that was killed.
    scene.tier.set_faults(Operation::Lease, Faults::DOWN);
    after(Duration::from_secs(3)).await;
    scene.tier.set_faults(Operation::Lease, Faults::NONE);
    assert_eq!(source.get(&heir, &PLAIN.key(3)).await, fresh("two"));
    holder.abort();
    after(TTL - Duration::from_secs(1)).await;
    let late = scene.process(CacheConfig::default()).await;
    assert_eq!(source.get(&late, &PLAIN.key(3)).await, fresh("two"));
    assert_eq!(source.loads(), 1, "it is kept for all of its time");
}
