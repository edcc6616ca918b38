//! What of a load is kept: that there is nothing, what depended on more than the key names, what came late,
//! and how much.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_cache::simulation::{Faults, Operation};
use db_cache::{
    Cache, CacheConfig, Drop as Wholesale, History, Keyspace, LoadFrom, Loaded, Policy, Position, ReadAt,
    Scope, Tag, Unkept,
};
use tokio::task::JoinSet;

use crate::scene::{Scene, Source, after};

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static ROWS: Keyspace<u8, String> =
    Keyspace::<u8, String>::new("kept").policy(POLICY).tags_of_key(|id| vec![Tag::row("kept", id)]);
static FEW: Keyspace<u8, String> = Keyspace::<u8, String>::new("few")
    .policy(Policy { max_loads: NonZeroU32::MIN.saturating_add(1), ..POLICY });
static LARGE: Keyspace<u64, String> = Keyspace::<u64, String>::new("large").policy(POLICY);

const HISTORY: History = History { system: 1, timeline: 1 };

fn unkept(cache: &Cache, why: Unkept) -> u64 {
    cache.stats().unkept.iter().find(|(reason, _)| *reason == why).map_or(0, |(_, times)| *times)
}

fn drops(cache: &Cache, why: Wholesale) -> u64 {
    cache.stats().drops.iter().find(|(cause, _)| *cause == why).map_or(0, |(_, times)| *times)
}

async fn commit(cache: &Cache, tag: Tag, position: Option<Position>) {
    let transaction = cache.transaction();
    transaction.touch(tag);
    transaction.before_commit().await.unwrap();
    transaction.committed(position).await;
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_remembered_for_its_time_and_not_beyond_a_commit() {
    let (scene, source, key) = (Scene::new(), Source::new(None), ROWS.key(1));
    let cache = scene.process(CacheConfig::default()).await;
    for _ in 0..3 {
        assert!(source.read(&cache, &key).await.unwrap().is_none());
    }
    assert_eq!(source.loads(), 1);
    after(Duration::from_secs(6)).await;
    assert!(source.read(&cache, &key).await.unwrap().is_none());
    assert_eq!(source.loads(), 2, "its negative_ttl is over");
    source.set("made");
    commit(&cache, Tag::row("kept", 1), None).await;
    assert_eq!(source.get(&cache, &key).await.0, "made");
}

#[tokio::test(start_paused = true)]
async fn nothing_found_in_an_older_snapshot_is_not_remembered() {
    let (scene, source) = (Scene::new(), Source::new(None));
    let cache = scene.process(CacheConfig::default()).await;
    for _ in 0..2 {
        assert!(source.read_at(&cache, &ROWS.key(2), |_| ReadAt::Elsewhere).await.unwrap().is_none());
    }
    assert_eq!((source.loads(), unkept(&cache, Unkept::ReadElsewhere)), (2, 2));

    // A standby behind the row's last commit found nothing: the primary is asked, and its answer counts.
    let at = |lsn| Position::new(HISTORY, lsn);
    cache.set_history(HISTORY).await;
    let first = Source::of("one");
    first.read_at(&cache, &ROWS.key(3), move |_| ReadAt::Primary(Some(at(100)))).await.unwrap();
    first.read_at(&cache, &ROWS.key(3), move |_| ReadAt::Primary(Some(at(100)))).await.unwrap();
    commit(&cache, Tag::row("kept", 3), Some(at(200))).await;
    let made = Source::new(None);
    let behind = move |from| match from {
        LoadFrom::Primary => ReadAt::Primary(Some(at(300))),
        LoadFrom::Replayed(_) => ReadAt::Standby(at(150)),
    };
    assert!(made.read_at(&cache, &ROWS.key(3), behind).await.unwrap().is_none());
    assert_eq!(made.loads(), 2, "once on the standby, once on the primary");
}

#[tokio::test(start_paused = true)]
async fn what_depended_on_a_role_a_tenant_or_a_search_path_is_not_kept_under_a_key_that_names_none() {
    let scene = Scene::new();
    let cache = scene.process(CacheConfig::default()).await;
    for (number, name) in ["role", "app.tenant", "search_path"].into_iter().enumerate() {
        let scope = Scope::new().with(name, "one");
        let loads = std::sync::Arc::new(AtomicU64::new(0));
        let load = |scope: Scope| {
            let loads = std::sync::Arc::clone(&loads);
            move |_| {
                let (loads, scope) = (std::sync::Arc::clone(&loads), scope.clone());
                async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    let loaded = Loaded::new(Some("theirs".to_owned()), ReadAt::Primary(None));
                    Ok::<_, std::io::Error>(Loaded { scope: Some(scope), ..loaded })
                }
            }
        };
        let bare = ROWS.key(10);
        for _ in 0..2 {
            cache.get_with(&bare, load(scope.clone())).await.unwrap();
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2, "{name}");
        assert_eq!(unkept(&cache, Unkept::OtherScope), 2 * (number as u64 + 1));
        let named = ROWS.key(10).within(&scope);
        for _ in 0..2 {
            cache.get_with(&named, load(scope.clone())).await.unwrap();
        }
        assert_eq!(loads.load(Ordering::SeqCst), 3, "{name}: kept under a key that names it");
        let other = ROWS.key(10).within(&Scope::new().with(name, "two"));
        assert!(cache.peek(&other).is_none() && cache.peek(&bare).is_none(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_installations_on_one_tier_have_their_own_values() {
    let scene = Scene::new();
    let of = |name: &str| CacheConfig { installation: name.to_owned(), ..CacheConfig::default() };
    let (shop, copy) = (scene.process(of("shop")).await, scene.process(of("copy")).await);
    let (ours, theirs) = (Source::of("ours"), Source::of("theirs"));
    assert_eq!(ours.get(&shop, &ROWS.key(4)).await.0, "ours");
    assert_eq!(theirs.get(&copy, &ROWS.key(4)).await.0, "theirs");
    let again = scene.process(of("shop")).await;
    assert_eq!(theirs.get(&again, &ROWS.key(4)).await.0, "ours");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_ends_after_a_later_one_does_not_lead_back() {
    let scene = Scene::new();
    // Nobody has a lease: both load.
    scene
        .tier
        .set_faults(Operation::Lease, Faults { refuse: Some(db_cache::TierFailure::Full), ..Faults::NONE });
    let (one, two) =
        (scene.process(CacheConfig::default()).await, scene.process(CacheConfig::default()).await);
    let (slow, source, key) = (Source::of("old"), Source::of("new"), ROWS.key(5));
    slow.hang();
    let (reads, cache) = (std::sync::Arc::clone(&slow), one.clone());
    let late = tokio::spawn(async move { reads.read(&cache, &ROWS.key(5)).await.map(drop) });
    db_testkit::until("it has read", async || slow.loads() == 1).await;
    commit(&two, Tag::row("kept", 5), None).await;
    assert_eq!(source.get(&two, &key).await.0, "new");
    slow.go_on();
    late.await.unwrap().unwrap();
    after(Duration::from_millis(10)).await;
    for cache in [&one, &two, &scene.process(CacheConfig::default()).await] {
        assert_eq!(source.get(cache, &key).await.0, "new");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_loads_of_a_keyspace_run_than_it_allows() {
    let (scene, source) = (Scene::new(), Source::of("one"));
    let cache = scene.process(CacheConfig::default()).await;
    source.hang();
    let mut reads = JoinSet::new();
    for id in 0..6 {
        let (source, cache) = (std::sync::Arc::clone(&source), cache.clone());
        reads.spawn(async move { source.get(&cache, &FEW.key(id)).await });
    }
    db_testkit::until("as many load as may", async || source.loads() == 2).await;
    after(Duration::from_secs(1)).await;
    assert_eq!(source.loads(), 2);
    source.go_on();
    while let Some(read) = reads.join_next().await {
        assert_eq!(read.unwrap().0, "one");
    }
    assert_eq!(source.loads(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_down_is_left_alone_until_it_answers_and_then_used_again_by_itself() {
    let (scene, source) = (Scene::new(), Source::of("one"));
    let cache = scene.process(CacheConfig::default()).await;
    let all = [Operation::Read, Operation::Open, Operation::Lease, Operation::Store, Operation::Feed];
    let hangs = Faults { hang: 1.0, ..Faults::NONE };
    all.iter().for_each(|operation| scene.tier.set_faults(*operation, hangs));
    for _ in 0..2 {
        assert_eq!(source.get(&cache, &ROWS.key(6)).await.0, "one", "no read fails");
    }
    assert!(cache.stats().breaker_open);
    let asked = tokio::time::Instant::now();
    source.get(&cache, &ROWS.key(6)).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits for it");
    all.iter().for_each(|operation| scene.tier.set_faults(*operation, Faults::NONE));
    db_testkit::until("it is used again", async || {
        source.get(&cache, &ROWS.key(6)).await;
        !cache.stats().breaker_open && cache.stats().first_tier_hits > 0
    })
    .await;
    assert_eq!(cache.stats().breaker_opened, 1);
}

#[tokio::test(start_paused = true)]
async fn memory_stays_within_its_setting_also_for_what_nobody_asks_for_again() {
    let scene = Scene::new();
    let most = 1 << 20;
    let cache = scene.process(CacheConfig { max_memory_bytes: most, ..CacheConfig::default() }).await;
    for id in 0..3_000 {
        let load = move |_| async move {
            Ok::<_, std::io::Error>(Loaded::new(Some("x".repeat(1_000)), ReadAt::Primary(None)))
        };
        cache.get_with(&LARGE.key(id), load).await.unwrap();
        let bytes = cache.stats().bytes;
        assert!(bytes <= most, "{bytes} bytes after {id}");
    }
    assert!(cache.stats().evictions > 1_000 && cache.stats().entries > 100);
}

#[tokio::test(start_paused = true)]
async fn invalidations_alone_take_no_memory_that_grows() {
    let scene = Scene::new();
    let config = CacheConfig { quarantine: Duration::from_millis(10), ..CacheConfig::default() };
    let cache = scene.process(config).await;
    [Operation::Bump, Operation::Feed, Operation::Read]
        .iter()
        .for_each(|operation| scene.tier.set_faults(*operation, Faults::DOWN));
    let before = cache.stats().bytes;
    for round in 0..40 {
        let tags: Vec<Tag> = (0..5_000).map(|id| Tag::row("kept", round * 5_000 + id)).collect();
        cache.invalidate(&tags).await;
    }
    assert!(cache.stats().unheard_slots <= 65_536, "{}", cache.stats().unheard_slots);
    assert_eq!(cache.stats().bytes, before);
}

#[tokio::test(start_paused = true)]
async fn a_drop_of_everything_is_counted_by_its_cause() {
    let scene = Scene::new();
    let cache = scene.process(CacheConfig::default()).await;
    let source = Source::of("one");
    source.get(&cache, &ROWS.key(7)).await;
    cache.invalidate_all().await;
    db_testkit::until("the epoch is heard of", async || drops(&cache, Wholesale::NewEpoch) == 1).await;
    scene.tier.flush();
    db_testkit::until("the feed is lost", async || drops(&cache, Wholesale::FeedLost) == 1).await;
    cache.set_history(HISTORY).await;
    assert_eq!(drops(&cache, Wholesale::NewHistory), 1);
    source.set("two");
    db_testkit::until("values are kept again", async || {
        source.get(&cache, &ROWS.key(7)).await;
        cache.peek(&ROWS.key(7)).is_some()
    })
    .await;
    // What nobody has cached costs no hits when it is written.
    commit(&cache, Tag::row("kept", 99), None).await;
    let loads = source.loads();
    assert_eq!(source.get(&cache, &ROWS.key(7)).await.0, "two");
    assert_eq!(source.loads(), loads);
}
