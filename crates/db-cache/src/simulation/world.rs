//! One run of the simulation: processes that read and write through their caches while things go wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::checker::{Log, Promise, Violation};
use super::database::Database;
use super::tier::SimulatedTier;
use super::trouble;
use super::way::{Reach, Way};
use crate::cache::{Cache, Foundation};
use crate::clock::TokioClock;
use crate::config::{CacheConfig, Unmarked};
use crate::error::CacheError;
use crate::keyspace::Keyspace;
use crate::load::Loaded;
use crate::mode::{Mode, SessionToken};
use crate::mutant::Mutant;
use crate::random::Random;
use crate::tag::Tag;

/// What a run simulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// What follows from it: everything.
    pub seed: u64,
    /// The guard that is left out.
    pub mutant: Mutant,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The promises that were not kept.
    pub violations: Vec<Violation>,
    /// How many reads were checked.
    pub reads: u64,
    /// How many transactions were answered.
    pub commits: u64,
    /// How many loads there were.
    pub loads: u64,
    /// How many reads a tier answered.
    pub hits: u64,
}

/// Rows that a key is made from, with the version of each.
pub(super) type Versions = Vec<(u32, u64)>;

/// Two rows in one entry: the first is in the key's tags, the second only in the value's.
pub(super) static PAIRS: Keyspace<(u32, u32), Versions> = Keyspace::<(u32, u32), Versions>::new("pairs")
    .tags_of_key(|(first, _)| vec![Tag::row("rows", first)])
    .tags_of_value(|versions| versions.iter().map(|(row, _)| Tag::row("rows", row)).collect());

pub(super) const ROWS: u64 = 4;
/// A row that only those write who know no cache.
const OUTSIDE: u32 = 4;
/// The part of reads that ask for several keys at once.
const MANY: f64 = 0.4;
const PROCESSES: usize = 3;
const BOUND: Duration = Duration::from_millis(200);
const RELAY_WITHIN: Duration = Duration::from_millis(150);

/// The database fails a load.
#[derive(Debug)]
pub(super) struct Unwell;

/// All that the tasks of a run share.
pub(super) struct World {
    pub(super) database: Arc<Database>,
    pub(super) tier: Arc<SimulatedTier>,
    pub(super) random: Random,
    pub(super) log: Mutex<Log>,
    caches: Mutex<Vec<(Cache, Reach)>>,
    mutant: Mutant,
    relays: bool,
    unmarked: Unmarked,
    started: tokio::time::Instant,
    commits: std::sync::atomic::AtomicU64,
    past: Mutex<(u64, u64)>,
    unmarked_until: Mutex<Duration>,
    cut_until: Mutex<Duration>,
}

/// Runs one seed. It needs a runtime of its own, so it must not be called within one.
///
/// # Errors
/// None where the runtime cannot be made.
pub fn simulate(setting: Setting) -> std::io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(run(setting)))
}

async fn run(setting: Setting) -> Report {
    let seed = setting.seed.wrapping_mul(2_654_435_761);
    let world = Arc::new(World {
        database: Arc::new(Database::new(seed ^ 1)),
        tier: Arc::new(SimulatedTier::seeded(seed ^ 2)),
        random: Random::seeded(seed ^ 3),
        log: Mutex::default(),
        caches: Mutex::default(),
        mutant: setting.mutant,
        relays: setting.seed.is_multiple_of(2),
        // What commits unmarked needs a relay where its process ends.
        unmarked: if setting.seed.is_multiple_of(4) { Unmarked::Commit } else { Unmarked::RollBack },
        started: tokio::time::Instant::now(),
        commits: std::sync::atomic::AtomicU64::new(0),
        past: Mutex::default(),
        unmarked_until: Mutex::default(),
        cut_until: Mutex::default(),
    });
    for _ in 0..PROCESSES {
        world.start_process(None).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for process in 0..PROCESSES {
        for _ in 0..2 {
            tasks.spawn(Arc::clone(&world).read_for_a_while(process));
        }
        tasks.spawn(Arc::clone(&world).write_for_a_while(process));
    }
    if world.relays {
        tasks.spawn(Arc::clone(&world).write_from_outside_for_a_while());
    }
    tasks.spawn(trouble::make(Arc::clone(&world)));
    let replay = tokio::spawn(trouble::replay(Arc::clone(&world)));
    let relay = tokio::spawn(trouble::relay(Arc::clone(&world)));
    while tasks.join_next().await.is_some() {}
    world.settle().await;
    replay.abort();
    relay.abort();
    world.report()
}

impl World {
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn relays(&self) -> bool {
        self.relays
    }

    pub(super) fn commits_unmarked(&self) -> bool {
        self.unmarked == Unmarked::Commit
    }

    pub(super) fn leaves_out(&self, guard: Mutant) -> bool {
        self.mutant == guard
    }

    pub(super) fn chance(&self, of: f64) -> bool {
        self.random.next_fraction() < of
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }

    /// The tier loses what was written last, or may.
    pub(super) fn loses_marks(&self) {
        self.marks_are_lost_until(Duration::from_secs(1));
    }

    /// A process is cut off for so long: what it commits without a mark is answered later.
    pub(super) fn cuts_off(&self, lasts: Duration) {
        let has_lost_marks = self.now() < *self.unmarked_until();
        let mut cut_until = self.cut_until.lock().unwrap_or_else(PoisonError::into_inner);
        *cut_until = (*cut_until).max(self.now() + lasts);
        drop(cut_until);
        if has_lost_marks {
            self.marks_are_lost_until(Duration::ZERO);
        }
    }

    fn marks_are_lost_until(&self, from_now: Duration) {
        const ANSWERED_WITHIN: Duration = Duration::from_millis(300);
        let cut_until = *self.cut_until.lock().unwrap_or_else(PoisonError::into_inner);
        let mut until = self.unmarked_until();
        *until = (*until).max(self.now() + from_now).max(cut_until + ANSWERED_WITHIN);
    }

    fn unmarked_until(&self) -> MutexGuard<'_, Duration> {
        self.unmarked_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cache(&self, process: usize) -> Cache {
        self.caches()[process].0.clone()
    }

    pub(super) fn all_caches(&self) -> Vec<Cache> {
        self.caches().iter().map(|(cache, _)| cache.clone()).collect()
    }

    /// What decides whether a process reaches the tier.
    pub(super) fn reach(&self, process: usize) -> Reach {
        self.caches()[process].1.clone()
    }

    /// Starts a process, in place of one that is gone.
    pub(super) async fn start_process(&self, instead: Option<usize>) {
        let config = CacheConfig {
            ttl: Duration::from_secs(36_000),
            tier_budget: Duration::from_millis(25),
            commit_budget: Duration::from_millis(60),
            unmarked: self.unmarked,
            doubt: Duration::from_millis(700),
            load_lease: Duration::from_millis(90),
            feed_interval: Duration::from_millis(40),
            longest_lease: Duration::from_millis(400),
            relay_within: self.relays.then_some(RELAY_WITHIN),
            quarantine: Duration::from_millis(150),
            ..CacheConfig::default()
        };
        let way = Way::to(&self.tier);
        let reach = way.reach();
        let foundation = Foundation {
            tier: Some(Arc::new(way)),
            clock: Arc::new(TokioClock::start()),
            random: Random::seeded(self.random.next_u64()),
            mutant: self.mutant,
        };
        let cache = Cache::on(config, foundation);
        if self.mutant != Mutant::KeepEpoch {
            cache.set_history(self.database.history()).await;
        }
        let mut caches = self.caches();
        match instead {
            Some(process) => {
                let (old, _) = std::mem::replace(&mut caches[process], (cache, reach));
                self.remember(&old);
            }
            None => caches.push((cache, reach)),
        }
    }

    async fn read_for_a_while(self: Arc<Self>, process: usize) {
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(self.below(40))).await;
            let (mode, promise) = match self.below(5) {
                0 | 1 => (Mode::Strict, Promise::Strict),
                2 | 3 => (Mode::Bounded(BOUND), Promise::AnsweredBefore(BOUND)),
                _ => (Mode::Ttl, Promise::Committed),
            };
            self.read(process, mode, promise).await;
        }
    }

    async fn read(&self, process: usize, mode: Mode, promise: Promise) {
        let pair = match self.relays && self.chance(0.2) {
            true => (OUTSIDE, OUTSIDE),
            false => (self.below(ROWS) as u32, self.below(ROWS) as u32),
        };
        let (began, history) = (self.now(), self.database.history());
        let knew_less = self.knows_less(process);
        let Some(versions) = self.get(process, pair, mode).await else { return };
        let ended = self.now();
        // A tier that loses a mark before COMMIT is answered lets reads of different tiers differ until then.
        let has_lost_marks = self.commits_unmarked() || began < *self.unmarked_until();
        let promise = match promise {
            Promise::Strict if has_lost_marks => Promise::AnsweredBefore(Duration::ZERO),
            other => other,
        };
        for (row, version) in versions {
            let (committed, lost) = self.database.was_committed(version);
            let mut log = self.log();
            if !committed && !lost {
                log.violations.push(Violation::NeverCommitted { row, read: version });
            }
            match lost {
                // The failover came while the read was under way, or its process did not know of it when the
                // read began.
                true if self.database.history() != history || knew_less => {}
                true => log.violations.push(Violation::Lost { row, read: version }),
                false => log.read(row, version, promise, began, ended),
            }
        }
    }

    /// What a read of a key returns; none where it failed, which is told.
    async fn get(&self, process: usize, pair: (u32, u32), mode: Mode) -> Option<Versions> {
        if self.chance(MANY) {
            return self.get_among_others(process, pair, mode).await;
        }
        let cache = self.cache(process);
        let database = Arc::clone(&self.database);
        let fails = self.chance(0.3);
        let load = move |from| {
            let database = Arc::clone(&database);
            let fails = fails && database.is_unwell();
            async move {
                if fails {
                    return Err(Unwell);
                }
                let rows = [pair.0, pair.1];
                let (versions, read_at) = database.read(from, &rows).await;
                let versions: Versions = rows.into_iter().zip(versions).collect();
                Ok(Loaded::new(Some(versions), read_at))
            }
        };
        match cache.get_with(&PAIRS.key(pair).mode(mode), load).await {
            Ok(versions) => versions.map(|versions| Versions::clone(&versions)),
            // The database was told to be unwell; a caller may share the load of another.
            Err(CacheError::Load(_)) => None,
            Err(error) => {
                self.log().violations.push(Violation::Failed(format!("{error:?}")));
                None
            }
        }
    }

    async fn write_for_a_while(self: Arc<Self>, process: usize) {
        for _ in 0..14 {
            tokio::time::sleep(Duration::from_millis(self.below(110))).await;
            let mut rows = vec![self.below(ROWS) as u32, self.below(ROWS) as u32];
            rows.sort_unstable();
            rows.dedup();
            self.database.lock_rows(&rows).await;
            self.write(process, &rows).await;
            self.database.unlock_rows(&rows);
        }
    }

    async fn write(&self, process: usize, rows: &[u32]) {
        let cache = self.cache(process);
        let fenced = self.chance(0.2);
        let transaction = if fenced { cache.fenced_transaction() } else { cache.transaction() };
        rows.iter().for_each(|row| transaction.touch(Tag::row("rows", row)));
        let slots = transaction.slots();
        if transaction.before_commit().await.is_err() || self.chance(0.1) {
            transaction.rolled_back().await;
            return;
        }
        let dies = self.chance(0.06);
        let commits = self.chance(0.9);
        let committed = match commits {
            true => self.database.commit(rows, &slots, self.chance(0.9)).await.ok(),
            false => None,
        };
        if dies {
            // It leaves no word: not even its own memory of what it has touched.
            std::mem::forget(transaction);
            self.start_process(Some(process)).await;
            return;
        }
        let Some(versions) = committed else {
            transaction.outcome_unknown().await;
            return;
        };
        let history = self.database.history();
        let token = transaction.committed(Some(self.database.position())).await;
        if self.database.history() == history {
            self.answered(rows, &versions);
            self.read_own(process, rows, &versions, token, fenced).await;
        }
    }

    /// Somebody who knows no cache writes: the relay has the word of it.
    async fn write_from_outside_for_a_while(self: Arc<Self>) {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(self.below(90))).await;
            let row = if self.chance(0.6) { OUTSIDE } else { self.below(ROWS) as u32 };
            let patience = Duration::from_millis(40);
            if tokio::time::timeout(patience, self.database.lock_rows(&[row])).await.is_err() {
                continue;
            }
            let slots = [Tag::row("rows", row).slot()];
            if let Ok(versions) = self.database.commit(&[row], &slots, true).await {
                let mut log = self.log();
                let versions =
                    versions.into_iter().filter(|version| !self.database.was_committed(*version).1);
                versions.for_each(|version| log.written_outside(row, version, self.now() + RELAY_WITHIN));
            }
            self.database.unlock_rows(&[row]);
        }
    }

    fn answered(&self, rows: &[u32], versions: &[u64]) {
        let now = self.now();
        self.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut log = self.log();
        for (row, version) in rows.iter().zip(versions) {
            if !self.database.was_committed(*version).1 {
                log.answered(*row, *version, now);
            }
        }
    }

    /// A session sees its own write; after a fenced one everybody does.
    async fn read_own(
        &self,
        process: usize,
        rows: &[u32],
        versions: &[u64],
        token: SessionToken,
        fenced: bool,
    ) {
        let history = self.database.history();
        let (reader, mode) = match fenced {
            true => (self.below(PROCESSES as u64) as usize, Mode::Bounded(BOUND)),
            false => (process, Mode::Session(token)),
        };
        let Some((row, version)) = rows.first().zip(versions.first()) else { return };
        let (began, pair) = (self.now(), (*row, self.below(ROWS) as u32));
        let Some(read) = self.get(reader, pair, mode).await else { return };
        if self.database.history() == history
            && !self.database.was_committed(*version).1
            && let Some((_, read)) = read.first()
        {
            let promise = if fenced { Promise::Fenced(*version) } else { Promise::Session(*version) };
            self.log().read(*row, *read, promise, began, self.now());
        }
    }

    /// All troubles are over: what is read now must be what the database shows.
    async fn settle(&self) {
        trouble::end(self).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        for round in 0..2 {
            for process in 0..PROCESSES {
                for pair in (0..=OUTSIDE).flat_map(|a| (0..=OUTSIDE).map(move |b| (a, b))) {
                    for mode in [Mode::Ttl, Mode::Bounded(BOUND), Mode::Strict] {
                        self.check_settled(process, pair, mode).await;
                    }
                }
            }
            if round == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        self.roll_back().await;
    }

    /// A rollback keeps what it touched.
    async fn roll_back(&self) {
        let cache = self.cache(0);
        for row in 0..ROWS as u32 {
            let pair = (row, row);
            let before = cache.stats().loads;
            self.get(0, pair, Mode::Strict).await;
            let is_hit = cache.stats().loads == before;
            let transaction = cache.transaction();
            transaction.touch(Tag::row("rows", row));
            let is_marked = transaction.before_commit().await.is_ok();
            transaction.rolled_back().await;
            let loads = cache.stats().loads;
            self.get(0, pair, Mode::Strict).await;
            if is_hit && is_marked && cache.stats().loads != loads {
                self.log().violations.push(Violation::DroppedByRollback);
            }
        }
    }

    async fn check_settled(&self, process: usize, pair: (u32, u32), mode: Mode) {
        for (row, read) in self.get(process, pair, mode).await.unwrap_or_default() {
            let shows = self.database.version(row);
            if read != shows {
                self.log().violations.push(Violation::StaleForGood { row, read, shows });
            }
        }
    }

    fn knows_less(&self, process: usize) -> bool {
        self.cache(process).shared.knowledge.history() != Some(self.database.history())
    }

    fn remember(&self, cache: &Cache) {
        let stats = cache.stats();
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.0 += stats.loads;
        past.1 += stats.first_tier_hits + stats.second_tier_hits;
    }

    fn report(&self) -> Report {
        self.all_caches().iter().for_each(|cache| self.remember(cache));
        let (loads, hits) = *self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.log();
        Report {
            violations: log.violations.clone(),
            reads: log.reads,
            commits: self.commits.load(std::sync::atomic::Ordering::Relaxed),
            loads,
            hits,
        }
    }

    fn caches(&self) -> MutexGuard<'_, Vec<(Cache, Reach)>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
