//! What an operator's program sees and does in the second tier, without knowing a keyspace's types.

use std::sync::Arc;
use std::time::Duration;

use db_cache::simulation::{Faults, Operation, SimulatedTier};
use db_cache::{
    Cache, CacheConfig, Foundation, Keyspace, Loaded, Operator, Policy, ReadAt, SampleConfig, SecondTier,
    Tag, TokioClock,
};
use db_testkit::until;

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static BY_NUMBER: Keyspace<i32, String> = Keyspace::new("by_number").policy(POLICY);
static BY_NAME: Keyspace<String, String> =
    Keyspace::new("by_name").policy(POLICY).tags_of_key(|name| vec![Tag::row("users", name)]);

async fn process(tier: &Arc<SimulatedTier>) -> Cache {
    let config = CacheConfig {
        tier_budget: Duration::from_secs(1),
        installation: "shop".to_owned(),
        sample: Some(SampleConfig::one_in(1)),
        ..CacheConfig::default()
    };
    let foundation = Foundation {
        tier: Some(Arc::clone(tier) as Arc<dyn SecondTier>),
        clock: Arc::new(TokioClock::start()),
        ..Foundation::default()
    };
    let cache = Cache::on(config, foundation);
    until("the feed is read", async || cache.stats().feed_lag.is_some()).await;
    cache
}

/// Reads a key twice.
async fn read<K: serde::Serialize + Clone>(cache: &Cache, keyspace: &'static Keyspace<K, String>, key: K) {
    for _ in 0..2 {
        let load =
            |_| async { Ok::<_, std::io::Error>(Loaded::new(Some("x".to_owned()), ReadAt::Primary(None))) };
        cache.get_with(&keyspace.key(key.clone()), load).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_all_processes_and_invalidates_by_name() {
    let tier = Arc::new(SimulatedTier::seeded(1));
    let (one, other) = (process(&tier).await, process(&tier).await);
    let operator = Operator::new(Arc::clone(&tier) as Arc<dyn SecondTier>, "shop");
    let misses = |cache: &Cache| cache.stats().misses.iter().map(|(_, times)| times).sum::<u64>();
    for cache in [&one, &other] {
        read(cache, &BY_NUMBER, -7).await;
        read(cache, &BY_NAME, "Ada".to_owned()).await;
    }
    assert_eq!((misses(&one), misses(&other)), (2, 0));

    operator.invalidate_key("by_number", "-7").await.unwrap();
    operator.invalidate_key("by_number", "7").await.unwrap();
    let all_misses = || misses(&one) + misses(&other);
    let apply = async || {
        let tail = operator.status().await.unwrap().tail;
        until("both have heard of it", async || {
            operator.status().await.unwrap().members.iter().all(|member| member.applied >= tail)
        })
        .await;
    };
    apply().await;
    read(&other, &BY_NUMBER, -7).await;
    read(&other, &BY_NAME, "Ada".to_owned()).await;
    assert_eq!(all_misses(), 3, "only that key");
    operator.invalidate(&["users/Ada".parse().unwrap()]).await.unwrap();
    apply().await;
    read(&other, &BY_NUMBER, -7).await;
    read(&other, &BY_NAME, "Ada".to_owned()).await;
    assert_eq!(all_misses(), 4, "only that row");
    operator.invalidate_all().await.unwrap();
    apply().await;
    read(&other, &BY_NUMBER, -7).await;
    read(&other, &BY_NAME, "Ada".to_owned()).await;
    assert_eq!(all_misses(), 6);

    other.save_hot_keys().await.unwrap();
    tokio::time::advance(Duration::from_secs(11)).await;
    until("both have reported that", async || {
        let status = operator.status().await.unwrap();
        status.processes.iter().map(|process| process.misses).sum::<u64>() == 6
    })
    .await;
    let status = operator.status().await.unwrap();
    assert_eq!((status.members.len(), status.processes.len()), (2, 2));
    assert_eq!(status.saved_keys, [("by_name".to_owned(), 1), ("by_number".to_owned(), 1)]);
    assert!(status.epoch.is_some() && status.usage.used_bytes.is_some());
    let samples = operator.samples().await.unwrap();
    assert!(samples.checked > 0 && samples.wrong == 0, "{samples:?}");
    assert_eq!(samples.checked, one.stats().samples.checked + other.stats().samples.checked);

    let elsewhere = Operator::new(Arc::clone(&tier) as Arc<dyn SecondTier>, "other");
    assert!(elsewhere.status().await.unwrap().processes.is_empty());
    tier.set_faults(Operation::Bump, Faults::DOWN);
    assert!(operator.invalidate(&[Tag::table("users")]).await.is_err(), "nothing is said to be dropped");
}

#[tokio::test(start_paused = true)]
async fn processes_are_asked_to_warm_once_for_each_request() {
    let tier = Arc::new(SimulatedTier::seeded(2));
    let operator = Operator::new(Arc::clone(&tier) as Arc<dyn SecondTier>, "shop");
    operator.warm().await.unwrap();
    let cache = process(&tier).await;
    let mut requests = cache.warm_requests();
    let mut asked = async |within| tokio::time::timeout(within, requests.next()).await == Ok(true);
    let long = Duration::from_secs(30);
    assert!(!asked(long).await, "that was before it began");
    operator.warm().await.unwrap();
    assert!(asked(long).await);
    assert!(!asked(long).await);
    operator.warm().await.unwrap();
    assert!(asked(long).await);
    assert!(!asked(long).await, "once");
}
