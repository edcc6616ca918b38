//! The cache: what a read does in the order in which it is cheap.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::clock::{CoarseClock, SharedClock};
use crate::config::CacheConfig;
use crate::contact::Contact;
use crate::entry::{Cached, Found};
use crate::error::CacheError;
use crate::feed_task;
use crate::first_tier::FirstTier;
use crate::flights::Flights;
use crate::generation::Generation;
use crate::guarded_tier::GuardedTier;
use crate::hit_share::HitShare;
use crate::key::Key;
use crate::knowledge::Knowledge;
use crate::load::{LoadFrom, Loaded};
use crate::mode::Mode;
use crate::mutant::Mutant;
use crate::position::History;
use crate::random::Random;
use crate::report::WarmRequests;
use crate::sampler::Sampler;
use crate::second_tier::{Fresh, Member, NewEpoch, SecondTier};
use crate::solo::Solo;
use crate::stats::{CacheStats, Counts, Drop as Wholesale};
use crate::tag::{Slot, Tag};
use crate::unheard::Unheard;

/// A cache in two tiers. Cheap to clone.
///
/// ```
/// use db_cache::{Cache, CacheConfig, Keyspace, Loaded, ReadAt};
///
/// static NAMES: Keyspace<i64, String> = Keyspace::new("names");
///
/// # tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(async {
/// let cache = Cache::new(CacheConfig::default());
/// let load = |_from| async { Ok::<_, std::io::Error>(Loaded::new(Some("Ada".to_owned()), ReadAt::Primary(None))) };
/// let name = cache.get_with(&NAMES.key(7), load).await.unwrap();
/// assert_eq!(name.as_deref().map(String::as_str), Some("Ada"));
/// # });
/// ```
#[derive(Clone)]
pub struct Cache {
    pub(crate) shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

/// What reads, loads and the feed's task share.
pub(crate) struct Shared {
    pub(crate) config: CacheConfig,
    pub(crate) clock: SharedClock,
    /// What the clock may lag behind.
    pub(crate) lag: Duration,
    pub(crate) random: Random,
    pub(crate) tier: GuardedTier,
    pub(crate) first: FirstTier,
    pub(crate) knowledge: Knowledge,
    pub(crate) flights: Flights,
    pub(crate) counts: Counts,
    pub(crate) unheard: Unheard,
    pub(crate) telling: tokio::sync::Mutex<()>,
    pub(crate) contact: Contact,
    /// When this process last heard of a new history of the database.
    pub(crate) history_since: AtomicU64,
    /// How often the second tier has what the first has not.
    pub(crate) second_tier_share: HitShare,
    pub(crate) sampler: Sampler,
    /// The number of the last request to warm the cache; none before it was looked for.
    pub(crate) warm_request: watch::Sender<Option<u64>>,
    /// Whether there is no second tier.
    pub(crate) is_alone: bool,
    pub(crate) member: Member,
    pub(crate) mutant: Mutant,
    permits: Mutex<HashMap<&'static str, Arc<Semaphore>>>,
}

/// What is to be done behind a hit, which its caller does not wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    Nothing,
    /// Its time is nearly over.
    LoadAnew,
    /// It is the one of so many that is read again.
    Compare,
}

/// Ends the feed's task, and what else runs beside, with the last handle.
struct Tasks(Vec<AbortHandle>);

/// What a cache is built on, besides its configuration. A simulation passes all of it.
pub struct Foundation {
    /// The second tier; none is that the first works alone.
    pub tier: Option<Arc<dyn SecondTier>>,
    /// The clock.
    pub clock: SharedClock,
    /// The randomness.
    pub random: Random,
    /// What is left out, in tests that show that it is needed.
    #[cfg(feature = "simulation")]
    pub mutant: Mutant,
}

/// Of so many hits one is noted with its entry, so that most write nothing that other threads read.
pub(crate) const ASKS_EVERY: u64 = 16;

/// What a value of a first tier takes in memory at least.
const SMALLEST_ENTRY: u64 = 512;

impl Cache {
    /// A cache whose first tier works alone. It must be made within a tokio runtime.
    ///
    /// It hears of this process's writes only: what a mode promises holds for those.
    pub fn new(config: CacheConfig) -> Self {
        Cache::on(config, Foundation::default())
    }

    /// A cache with a second tier. It must be made within a tokio runtime.
    pub fn with_second_tier(config: CacheConfig, tier: Arc<dyn SecondTier>) -> Self {
        Cache::on(config, Foundation { tier: Some(tier), ..Foundation::default() })
    }

    /// A cache on a foundation of the caller's. It must be made within a tokio runtime.
    pub fn on(config: CacheConfig, foundation: Foundation) -> Self {
        let Foundation { tier, clock, random, .. } = &foundation;
        let is_alone = tier.is_none();
        // What stands in for a second tier is never away.
        let quarantine = if is_alone { Duration::MAX } else { config.quarantine };
        let has_relay = config.relay_within.is_some();
        let contact = Contact::new(clock.now(), quarantine, config.feed_interval, has_relay);
        let tier = tier.clone().unwrap_or_else(|| Arc::new(Solo::new(Arc::clone(clock), random)));
        let member = Member(random.next_u64());
        let expected = usize::try_from(config.max_memory_bytes / SMALLEST_ENTRY).unwrap_or(usize::MAX);
        let shared = Arc::new(Shared {
            tier: GuardedTier::new(tier, config.tier_budget),
            first: FirstTier::new(config.max_memory_bytes, expected.clamp(1, 1 << 20)),
            knowledge: Knowledge::new(),
            flights: Flights::default(),
            counts: Counts::default(),
            unheard: Unheard::default(),
            telling: tokio::sync::Mutex::default(),
            contact,
            history_since: AtomicU64::new(0),
            second_tier_share: HitShare::default(),
            sampler: Sampler::default(),
            warm_request: watch::Sender::new(None),
            is_alone,
            member,
            #[cfg(feature = "simulation")]
            mutant: foundation.mutant,
            #[cfg(not(feature = "simulation"))]
            mutant: Mutant::None,
            permits: Mutex::default(),
            config,
            lag: foundation.clock.lag(),
            clock: foundation.clock,
            random: foundation.random,
        });
        let mut tasks = vec![tokio::spawn(feed_task::run(Arc::downgrade(&shared))).abort_handle()];
        if shared.config.warming {
            let saving = crate::hot_keys::save_now_and_then(Arc::downgrade(&shared));
            tasks.push(tokio::spawn(saving).abort_handle());
        }
        if !shared.is_alone && !shared.config.installation.is_empty() {
            let reporting = crate::report::report_now_and_then(Arc::downgrade(&shared));
            tasks.push(tokio::spawn(reporting).abort_handle());
        }
        Cache { shared, _tasks: Arc::new(Tasks(tasks)) }
    }

    /// The value of a key: from the first tier, from the second, or loaded; none where there is none.
    ///
    /// The load runs in a task of its own, so it goes on when the caller is dropped, and others that wait for
    /// it have its value all the same. It is called again, with [`LoadFrom::Primary`], where it read on a
    /// standby that was too far behind.
    ///
    /// # Errors
    /// What the load failed with, if there is nothing that may be served instead.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait; a load that was begun goes on.
    pub async fn get_with<K, V, E, F, L>(
        &self,
        key: &Key<K, V>,
        load: F,
    ) -> Result<Option<Cached<V>>, CacheError<E>>
    where
        K: Serialize,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let mode = self.shared.mode_of(key);
        if let Some((entry, behind)) = self.shared.first_tier_value(key, mode) {
            let value = Cached::fresh(entry);
            if behind != Behind::Nothing {
                self.shared.go_behind(behind, key, &Found::Value(value.clone()), load);
            }
            return Ok(Some(value));
        }
        if let Some(behind) = self.shared.first_tier_nothing(key, mode) {
            self.shared.go_behind(behind, key, &Found::Nothing { stale: false }, load);
            return Ok(None);
        }
        Box::pin(self.shared.get_past_first_tier(key, *mode, load)).await.map(Found::into_value)
    }

    /// The value of a key, if the first tier may answer with it. It waits for nothing.
    pub fn peek<K, V: Send + Sync + 'static>(&self, key: &Key<K, V>) -> Option<Cached<V>> {
        let mode = self.shared.mode_of(key);
        self.shared.first_tier_value(key, mode).map(|(entry, _)| Cached::fresh(entry))
    }

    /// Drops every entry that was made from one of these, however many there are.
    ///
    /// For writes that were committed elsewhere. A transaction touches its tags instead:
    /// [`Cache::transaction`].
    ///
    /// # Errors
    /// None: where the second tier does not answer it is told as soon as it does, and this process forgets
    /// them at once. While an outage begins it returns when that has been told, or has been silent as long as
    /// for [`Unmarked::Commit`](crate::Unmarked::Commit).
    pub async fn invalidate(&self, tags: &[Tag]) {
        let slots: Vec<Slot> = tags.iter().map(Tag::slot).collect();
        self.shared.bump_and_tell(None, &slots, None).await;
    }

    /// Drops the entry of one key.
    pub async fn invalidate_key<K, V>(&self, key: &Key<K, V>) {
        let Some(id) = key.id() else { return };
        self.shared.first.remove(id);
        self.shared.bump_and_tell(None, &[id.slot()], None).await;
    }

    /// Drops everything, in all processes.
    pub async fn invalidate_all(&self) {
        self.shared.renew_epoch(NewEpoch::Always).await;
    }

    /// The database has this history now: after a failover, to be awaited before the new writer's first read
    /// is served.
    ///
    /// Whatever was loaded before may hold commits that the failover has lost: this process drops it at once,
    /// and the others when they read next, if the second tier can be told.
    pub async fn set_history(&self, history: History) {
        self.shared.set_history(history).await;
    }

    /// How it was set up.
    pub fn config(&self) -> &CacheConfig {
        &self.shared.config
    }

    /// Whether the second tier has heard of all that this process has written.
    pub fn has_told_everything(&self) -> bool {
        self.shared.unheard.is_all_told()
    }

    /// What operators ask for from now on.
    pub fn warm_requests(&self) -> WarmRequests {
        WarmRequests(self.shared.warm_request.subscribe())
    }

    /// What it has counted, and how it is.
    pub fn stats(&self) -> CacheStats {
        self.shared.stats()
    }
}

impl Shared {
    #[inline]
    pub(crate) fn mode_of<'a, K, V>(&'a self, key: &'a Key<K, V>) -> &'a Mode {
        let wanted = key.wishes.get().mode.as_ref().or(key.keyspace().defaults().mode.as_ref());
        wanted.unwrap_or(&self.config.mode)
    }

    /// Fresh generations for slots, each once.
    pub(crate) fn fresh(&self, slots: impl IntoIterator<Item = Slot>) -> Fresh {
        let mut slots: Vec<Slot> = slots.into_iter().collect();
        slots.sort_unstable();
        slots.dedup();
        Fresh(slots.into_iter().map(|slot| (slot, self.generation())).collect())
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation::fresh(&self.random)
    }

    /// The permits for loads of a keyspace.
    pub(crate) fn permits(&self, keyspace: &'static str, max: u32) -> Arc<Semaphore> {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let made = permits.entry(keyspace).or_insert_with(|| Arc::new(Semaphore::new(max as usize)));
        Arc::clone(made)
    }

    pub(crate) async fn set_history(&self, history: History) {
        if !self.knowledge.set_history(history) {
            return;
        }
        self.history_since.fetch_max(self.clock.now().0, Ordering::AcqRel);
        self.dropped_everything(Wholesale::NewHistory);
        self.renew_epoch(NewEpoch::IfHistoryIs(history)).await;
    }

    pub(crate) async fn renew_epoch(&self, when: NewEpoch) {
        if self.mutant == Mutant::KeepEpoch {
            return;
        }
        let fresh = self.generation();
        let budget = self.config.commit_budget;
        if self.tier.ask_within(budget, |tier| tier.epoch(fresh, when)).await.is_err() {
            self.unheard.remember_epoch();
        }
    }

    pub(crate) fn dropped_everything(&self, why: Wholesale) {
        let times = self.counts.dropped(why);
        let why = why.as_str();
        if times > 1 {
            tracing::warn!(why, times, "the cache has dropped everything again");
        } else {
            tracing::info!(why, "the cache has dropped everything");
        }
    }
}

impl Default for Foundation {
    fn default() -> Self {
        Foundation {
            tier: None,
            clock: Arc::new(CoarseClock),
            random: Random::from_entropy(),
            #[cfg(feature = "simulation")]
            mutant: Mutant::None,
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
