//! Schedules in which one guard decides: the promise holds with it, and is broken without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_cache::simulation::{Faults, Operation, Reach, SimulatedTier, Way};
use db_cache::{
    Cache, CacheConfig, CacheTransaction, Foundation, Keyspace, Loaded, Mode, Mutant, Random, ReadAt, Tag,
    TierFailure, TokioClock, Unmarked,
};

static ROWS: Keyspace<u64, u64> =
    Keyspace::new("rows").mode(Mode::Strict).tags_of_key(|id| vec![Tag::row("rows", id)]);

const DOUBT: Duration = Duration::from_secs(1);

/// Two processes on one tier, which they may be cut off from, and the row that they cache.
struct Scene {
    tier: Arc<SimulatedTier>,
    reach: Reach,
    readers_reach: Reach,
    writer: Cache,
    reader: Cache,
    row: Arc<AtomicU64>,
}

impl Scene {
    async fn new(mutant: Mutant) -> Self {
        Scene::with(mutant, Unmarked::RollBack).await
    }

    async fn with(mutant: Mutant, unmarked: Unmarked) -> Self {
        let tier = Arc::new(SimulatedTier::seeded(7));
        let cache = |seed| {
            let way = Way::to(&tier);
            let reach = way.reach();
            let config = CacheConfig { unmarked, doubt: DOUBT, ..CacheConfig::default() };
            let foundation = Foundation {
                tier: Some(Arc::new(way)),
                clock: Arc::new(TokioClock::start()),
                random: Random::seeded(seed),
                mutant,
            };
            (Cache::on(config, foundation), reach)
        };
        let ((writer, reach), (reader, readers_reach)) = (cache(1), cache(2));
        let scene = Scene { tier, reach, readers_reach, writer, reader, row: Arc::new(AtomicU64::new(1)) };
        scene.warm().await;
        scene
    }

    /// Reads until the second tier answers with the row.
    async fn warm(&self) {
        let hits = self.reader.stats().second_tier_hits;
        while self.reader.stats().second_tier_hits == hits {
            self.read().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What the second process reads.
    async fn read(&self) -> u64 {
        let row = Arc::clone(&self.row);
        let load = move |_| {
            let read = row.load(Ordering::Relaxed);
            async move { Ok::<_, std::io::Error>(Loaded::new(Some(read), ReadAt::Primary(None))) }
        };
        *self.reader.get_with(&ROWS.key(1), load).await.unwrap().unwrap()
    }

    /// A transaction of the first process, up to COMMIT.
    async fn begin(&self) -> CacheTransaction {
        let transaction = self.writer.transaction();
        transaction.touch(Tag::row("rows", 1));
        transaction.before_commit().await.unwrap();
        transaction
    }
}

/// The tier loses a mark to a failover, another process caches the row before COMMIT, and the writer does not
/// reach the tier any more: whether its commit is answered while the old row is read.
async fn is_answered_untold(mutant: Mutant) -> bool {
    let scene = Scene::new(mutant).await;
    let replica = scene.tier.state();
    let transaction = scene.begin().await;
    scene.tier.fail_over(replica);
    scene.warm().await;
    scene.reach.cut_off(true);
    scene.row.store(2, Ordering::Relaxed);
    let committed = transaction.committed(None);
    let mut committed = std::pin::pin!(committed);
    let answered = tokio::time::timeout(DOUBT * 5, committed.as_mut()).await.is_ok();
    let read = scene.read().await;
    scene.reach.cut_off(false);
    if !answered {
        committed.await;
        assert_eq!(scene.read().await, 2, "it is answered once the others can know");
    }
    answered && read == 1
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_answered_once_a_tier_that_others_reach_knows_of_it() {
    assert!(!is_answered_untold(Mutant::None).await);
    assert!(is_answered_untold(Mutant::AnswerUntold).await, "the guard is needed");
}

/// The tier is away for all between a mark and its COMMIT, and stays away.
#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_a_tier_that_stays_away_only_so_long() {
    let scene = Scene::new(Mutant::None).await;
    let fenced = scene.writer.fenced_transaction();
    fenced.touch(Tag::row("rows", 1));
    fenced.before_commit().await.unwrap();
    for transaction in [scene.begin().await, fenced] {
        scene.reach.cut_off(true);
        let (began, before) = (tokio::time::Instant::now(), scene.writer.stats().answered_untold);
        let token = transaction.committed(None).await;
        let told_within = CacheConfig::default().told_within;
        assert!(token.untold && token.feed.is_none());
        assert_eq!(scene.writer.stats().answered_untold, before + 1);
        assert!(began.elapsed() >= told_within, "{:?}", began.elapsed());
        assert!(began.elapsed() < told_within + Duration::from_secs(1), "{:?}", began.elapsed());
    }
    scene.row.store(2, Ordering::Relaxed);
    scene.reach.cut_off(false);
    while scene.writer.stats().unheard_slots > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(scene.read().await, 2, "the tier is told when it is back");
}

/// The tier is away for all, a commit is answered meanwhile, and the tier is back for the reader a moment
/// before it is for the writer: what is read in that moment.
async fn reads_when_the_tier_is_back(mutant: Mutant) -> u64 {
    let scene = Scene::with(mutant, Unmarked::Commit).await;
    [&scene.reach, &scene.readers_reach].iter().for_each(|reach| reach.cut_off(true));
    let transaction = scene.begin().await;
    scene.row.store(2, Ordering::Relaxed);
    let began = tokio::time::Instant::now();
    assert!(transaction.committed(None).await.untold, "nobody could be told");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    scene.readers_reach.cut_off(false);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let read = scene.read().await;
    scene.reach.cut_off(false);
    while scene.read().await != 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    read
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_comes_back_is_not_trusted_before_all_could_tell_it() {
    assert_eq!(reads_when_the_tier_is_back(Mutant::None).await, 2);
    assert_eq!(reads_when_the_tier_is_back(Mutant::NoQuarantine).await, 1, "the guard is needed");
}

/// R3: whether a rollback costs a load.
async fn drops_by_rollback(mutant: Mutant) -> bool {
    let scene = Scene::new(mutant).await;
    let transaction = scene.begin().await;
    scene.read().await;
    let loads = scene.reader.stats().loads;
    transaction.rolled_back().await;
    scene.read().await;
    scene.reader.stats().loads != loads
}

#[tokio::test(start_paused = true)]
async fn a_rollback_keeps_what_it_touched_also_where_a_load_meets_its_mark() {
    assert!(!drops_by_rollback(Mutant::None).await);
    assert!(drops_by_rollback(Mutant::BumpOnRollback).await, "the guard is needed");
}

/// The feed is silent for longer than the mode allows, so the read asks the tier, which takes its time to
/// fail. Meanwhile the feed has come back, and with it the entry that the first tier has had for long.
#[tokio::test(start_paused = true)]
async fn a_read_that_finds_its_entry_trusted_again_does_not_fail() {
    let scene = Scene::new(Mutant::None).await;
    let bound = Duration::from_millis(500);
    let read = async || {
        let load = |_| async { Ok::<_, std::io::Error>(Loaded::new(Some(9), ReadAt::Primary(None))) };
        *scene.reader.get_with(&ROWS.key(1).mode(Mode::Bounded(bound)), load).await.unwrap().unwrap()
    };
    assert_eq!(read().await, 1);
    tokio::time::sleep(bound * 4).await;
    scene.tier.set_faults(Operation::Feed, Faults::DOWN);
    let is_trusted = || scene.reader.peek(&ROWS.key(1).mode(Mode::Bounded(bound))).is_some();
    while is_trusted() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    scene.tier.set_faults(Operation::Feed, Faults::NONE);
    let slow = Duration::from_millis(400);
    let refuse = Some(TierFailure::Full);
    scene.tier.set_faults(Operation::Read, Faults { slowest_request: slow, refuse, ..Faults::NONE });
    assert_eq!(read().await, 1, "it needs no load");
    assert!(is_trusted());
}
