//! Many keys at once: one look, one load, and each key shared with whoever asks for it alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_cache::simulation::{Faults, Operation, SimulatedTier};
use db_cache::{
    Cache, CacheConfig, CacheError, Keyspace, LoadFrom, Loaded, LoadedMany, Mode, Policy, ReadAt, SecondTier,
    Tag,
};
use db_testkit::until;
use tokio::sync::Semaphore;

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static NAMES: Keyspace<u64, String> =
    Keyspace::new("names").policy(POLICY).tags_of_key(|id| vec![Tag::row("users", id)]);

/// What a test's database holds, and what it was asked for.
#[derive(Default)]
struct Rows {
    names: Mutex<BTreeMap<u64, String>>,
    asked: Mutex<Vec<Vec<u64>>>,
}

impl Rows {
    fn of(ids: impl IntoIterator<Item = u64>) -> Arc<Self> {
        let rows = Rows::default();
        rows.names.lock().unwrap().extend(ids.into_iter().map(|id| (id, format!("name {id}"))));
        Arc::new(rows)
    }

    fn read(&self, mut ids: Vec<u64>) -> LoadedMany<u64, String, String> {
        ids.sort_unstable();
        let names = self.names.lock().unwrap();
        let found: Vec<_> = ids.iter().filter_map(|id| Some((*id, names.get(id)?.clone()))).collect();
        self.asked.lock().unwrap().push(ids);
        LoadedMany::new(found, ReadAt::Primary(None))
    }

    /// What it was asked for since the last time, each load in its order.
    fn asked(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// A cache of one process on a tier.
async fn process(tier: &Arc<SimulatedTier>) -> Cache {
    let config = CacheConfig { tier_budget: Duration::from_secs(1), ..CacheConfig::default() };
    let cache = Cache::with_second_tier(config, Arc::clone(tier) as Arc<dyn SecondTier>);
    until("the feed is read", async || cache.stats().feed_lag.is_some()).await;
    cache
}

/// Each key with its value, or with nothing, or with what went wrong.
async fn read(cache: &Cache, rows: &Arc<Rows>, ids: impl IntoIterator<Item = u64>) -> BTreeMap<u64, String> {
    let rows = Arc::clone(rows);
    let load = move |_: LoadFrom, missing| {
        let loaded = rows.read(missing);
        async move { Ok(loaded) }
    };
    let answers = cache.get_many_with(&NAMES.keys(ids), load).await;
    let text = |answer: Result<Option<db_cache::Cached<String>>, CacheError<String>>| match answer {
        Ok(Some(name)) => name.to_string(),
        Ok(None) => "none".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    answers.into_iter().map(|(id, answer)| (id, text(answer))).collect()
}

#[tokio::test]
async fn one_load_brings_what_no_tier_has_and_what_is_absent_is_remembered() {
    let (rows, tier) = (Rows::of(1..=3), Arc::new(SimulatedTier::seeded(1)));
    let (one, other) = (process(&tier).await, process(&tier).await);
    let first = read(&one, &rows, [1, 2]).await;
    assert_eq!(first.into_values().collect::<Vec<_>>(), ["name 1", "name 2"]);
    assert_eq!(rows.asked(), [vec![1, 2]]);
    let second = read(&one, &rows, [2, 3, 9]).await;
    assert_eq!(second.into_values().collect::<Vec<_>>(), ["name 2", "name 3", "none"]);
    assert_eq!(rows.asked(), [vec![3, 9]]);
    assert_eq!(read(&other, &rows, [1, 2, 3, 9, 10]).await.len(), 5);
    assert_eq!(rows.asked(), [vec![10]], "the second tier has the others, and that there is no 9");
    let stats = other.stats();
    assert_eq!((stats.second_tier_hits, stats.loads), (4, 1));
    assert_eq!(read(&other, &rows, [1, 2, 3, 9, 10]).await.len(), 5);
    assert_eq!((rows.asked().len(), other.stats().first_tier_hits), (0, 5));
}

#[tokio::test]
async fn a_commit_drops_the_keys_that_it_touched_and_no_other() {
    let (rows, tier) = (Rows::of(1..=3), Arc::new(SimulatedTier::seeded(2)));
    let (one, other) = (process(&tier).await, process(&tier).await);
    read(&one, &rows, [1, 2, 3]).await;
    rows.asked();
    let transaction = other.transaction();
    transaction.touch(Tag::row("users", 2));
    transaction.before_commit().await.unwrap();
    rows.names.lock().unwrap().insert(2, "new".to_owned());
    // In doubt: what is loaded now is served and not kept.
    let strict = |cache: &Cache| {
        let (cache, rows) = (cache.clone(), Arc::clone(&rows));
        async move {
            let load = move |_: LoadFrom, missing| {
                let loaded = rows.read(missing);
                async move { Ok(loaded) }
            };
            let names = cache.get_many_with(&NAMES.keys([1, 2, 3]).mode(Mode::Strict), load).await;
            names[&2].as_ref().unwrap().as_deref().cloned()
        }
    };
    assert_eq!(strict(&one).await.as_deref(), Some("new"));
    assert_eq!(strict(&one).await.as_deref(), Some("new"));
    assert_eq!(rows.asked(), [vec![2], vec![2]]);
    transaction.committed(None).await;
    assert_eq!(strict(&one).await.as_deref(), Some("new"));
    assert_eq!(strict(&other).await.as_deref(), Some("new"));
    assert_eq!(rows.asked(), [vec![2]]);
}

#[tokio::test]
async fn a_key_that_is_being_loaded_alone_is_waited_for_and_the_other_way_round() {
    let (rows, tier) = (Rows::of(1..=4), Arc::new(SimulatedTier::seeded(3)));
    let (one, other) = (process(&tier).await, process(&tier).await);
    let (begun, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let alone = |cache: &Cache, id: u64| {
        let (cache, begun, go) = (cache.clone(), Arc::clone(&begun), Arc::clone(&go));
        let load = move |_| {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                let _permit = go.acquire().await;
                Ok::<_, String>(Loaded::new(Some(format!("alone {id}")), ReadAt::Primary(None)))
            }
        };
        tokio::spawn(async move { cache.get_with(&NAMES.key(id), load).await.unwrap().unwrap().to_string() })
    };
    // One load in this process, one in another.
    let tasks = [alone(&one, 1), alone(&other, 2)];
    until("both have begun", async || begun.load(Ordering::SeqCst) == 2).await;
    let many = {
        let (one, rows) = (one.clone(), Arc::clone(&rows));
        tokio::spawn(async move { read(&one, &rows, [1, 2, 3, 4]).await })
    };
    until("what nobody loads is loaded", async || !rows.asked.lock().unwrap().is_empty()).await;
    assert_eq!(rows.asked(), [vec![3, 4]]);
    go.add_permits(2);
    let names: Vec<String> = many.await.unwrap().into_values().collect();
    assert_eq!(names, ["alone 1", "alone 2", "name 3", "name 4"]);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(rows.asked().len(), 0, "nothing was loaded twice");
    assert_eq!(one.stats().coalesced, 1);
}

#[tokio::test]
async fn two_processes_that_want_each_others_keys_load_each_once() {
    let (rows, tier) = (Rows::of(0..200), Arc::new(SimulatedTier::seeded(4)));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..4 {
        let (cache, rows) = (process(&tier).await, Arc::clone(&rows));
        tasks.spawn(
            async move { read(&cache, &rows, (0..200).map(|id| (id * 7 + n * 50) % 200)).await.len() },
        );
    }
    while let Some(read) = tasks.join_next().await {
        assert_eq!(read.unwrap(), 200);
    }
    let mut loaded: Vec<u64> = rows.asked().concat();
    loaded.sort_unstable();
    assert_eq!(loaded, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_that_fails_fails_alone_and_a_load_that_fails_or_panics_fails_for_each() {
    let cache = process(&Arc::new(SimulatedTier::seeded(5))).await;
    let load = |_: LoadFrom, ids: Vec<u64>| async move {
        if ids.contains(&7) {
            panic!("a bug");
        }
        if ids.contains(&6) {
            return Err("down".to_owned());
        }
        let mut loaded = LoadedMany::new([(1, "Ada".to_owned())], ReadAt::Primary(None));
        loaded.failed.insert(2, "broken row".to_owned());
        Ok(loaded)
    };
    let answers = cache.get_many_with(&NAMES.keys([1, 2, 3]), load).await;
    assert_eq!(answers[&1].as_ref().unwrap().as_deref().map(String::as_str), Some("Ada"));
    assert!(matches!(&answers[&2], Err(CacheError::Load(error)) if *error.0 == "broken row"));
    assert!(matches!(answers[&3], Ok(None)));
    let answers = cache.get_many_with(&NAMES.keys([5, 6]), load).await;
    assert!(answers.values().all(|answer| matches!(answer, Err(CacheError::Load(_)))));
    let answers = cache.get_many_with(&NAMES.keys([5, 7]), load).await;
    assert!(answers.values().all(|answer| matches!(answer, Err(CacheError::Ended))));
    assert_eq!(cache.get_many_with(&NAMES.keys([1]), load).await.len(), 1, "the cache goes on");
}

#[tokio::test]
async fn without_a_second_tier_that_answers_one_load_brings_all() {
    let (rows, tier) = (Rows::of(1..=2), Arc::new(SimulatedTier::seeded(6)));
    let cache = process(&tier).await;
    for operation in [Operation::Read, Operation::Open, Operation::Lease, Operation::Store, Operation::Feed] {
        tier.set_faults(operation, Faults::DOWN);
    }
    assert_eq!(read(&cache, &rows, [1, 2]).await.into_values().collect::<Vec<_>>(), ["name 1", "name 2"]);
    assert_eq!(rows.asked(), [vec![1, 2]]);
    let alone = Cache::new(CacheConfig::default());
    until("its feed is read", async || alone.stats().feed_lag.is_some()).await;
    read(&alone, &rows, [1, 2]).await;
    read(&alone, &rows, [1, 2]).await;
    assert_eq!(rows.asked(), [vec![1, 2]]);
}

/// Without a second tier nothing but the first tier's own entry would ever be found again.
#[tokio::test]
async fn a_session_that_met_a_load_from_before_its_write_loads_once_more() {
    let cache = Cache::new(CacheConfig::default());
    until("the feed is read", async || cache.stats().feed_lag.is_some()).await;
    let (begun, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let alone = {
        let (cache, begun, go) = (cache.clone(), Arc::clone(&begun), Arc::clone(&go));
        let load = move |_| {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                let _permit = go.acquire().await;
                Ok::<_, String>(Loaded::new(Some("old".to_owned()), ReadAt::Primary(None)))
            }
        };
        tokio::spawn(async move { cache.get_with(&NAMES.key(1), load).await })
    };
    until("it has begun", async || begun.load(Ordering::SeqCst) == 1).await;
    let many = {
        let (cache, rows) = (cache.clone(), Rows::of([1]));
        let keys = NAMES.keys([1]).session(db_cache::SessionToken::default());
        let load = move |_: LoadFrom, missing| {
            let loaded = rows.read(missing);
            async move { Ok(loaded) }
        };
        tokio::spawn(async move { cache.get_many_with(&keys, load).await })
    };
    until("it waits for that", async || cache.stats().coalesced == 1).await;
    go.add_permits(1);
    let answers = tokio::time::timeout(Duration::from_secs(10), many).await.unwrap().unwrap();
    assert_eq!(answers[&1].as_ref().unwrap().as_deref().map(String::as_str), Some("name 1"));
    alone.await.unwrap().unwrap();
}

/// What only the values tell drops their entries as well, and costs one more round trip and not one a key.
#[tokio::test]
async fn tags_of_values_are_kept_for_each_key() {
    static TEAMS: Keyspace<u64, u64> =
        Keyspace::new("teams").policy(POLICY).tags_of_value(|team| vec![Tag::row("teams", team)]);
    let cache = process(&Arc::new(SimulatedTier::seeded(7))).await;
    let loads = Arc::new(Mutex::new(Vec::new()));
    let read = || {
        let (cache, loads) = (cache.clone(), Arc::clone(&loads));
        let load = move |_: LoadFrom, ids: Vec<u64>| {
            let teams: Vec<_> = ids.iter().map(|id| (*id, id % 2)).collect();
            loads.lock().unwrap().extend(ids);
            async move { Ok::<_, String>(LoadedMany::new(teams, ReadAt::Primary(None))) }
        };
        async move { cache.get_many_with(&TEAMS.keys([1, 2, 3, 4]).mode(Mode::Strict), load).await }
    };
    // A tag that nobody knew has no generation from before the load: that first value is not kept.
    for _ in 0..2 {
        assert_eq!(read().await[&3].as_ref().unwrap().as_deref(), Some(&1));
    }
    let before = loads.lock().unwrap().len();
    read().await;
    assert_eq!(loads.lock().unwrap().len(), before);
    cache.invalidate(&[Tag::row("teams", 1)]).await;
    loads.lock().unwrap().clear();
    read().await;
    let mut again = loads.lock().unwrap().clone();
    again.sort_unstable();
    assert_eq!(again, [1, 3]);
}

#[tokio::test]
async fn each_keyspace_has_its_hit_rate() {
    static OTHERS: Keyspace<u64, String> = Keyspace::new("others_of_many").policy(POLICY);
    let (rows, tier) = (Rows::of(1..=2), Arc::new(SimulatedTier::seeded(8)));
    let (one, other) = (process(&tier).await, process(&tier).await);
    for cache in [&one, &one, &other, &other] {
        read(cache, &rows, [1, 2]).await;
    }
    let load = |_| async { Ok::<_, String>(Loaded::new(Some(String::new()), ReadAt::Primary(None))) };
    one.get_with(&OTHERS.key(1), load).await.unwrap();
    let stats = one.stats();
    let names = stats.keyspace("names").unwrap();
    assert_eq!((names.first_tier_hits, names.second_tier_hits, names.misses), (2, 0, 2));
    assert_eq!(
        (names.hit_rate(), stats.keyspace("others_of_many").unwrap().hit_rate()),
        (Some(0.5), Some(0.0))
    );
    assert_eq!((stats.hit_rate(), other.stats().hit_rate()), (Some(0.4), Some(1.0)));
}
