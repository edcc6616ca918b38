//! Reads one of so many hits again from the primary, in the background, and tells stale values from those
//! that changed.
//!
//! A value that differs is wrong for good where the cache still takes it for valid after it was read again:
//! whatever was committed before that read had marked its tags by then, and a mark or a fresh generation
//! would show. Where the value has been invalidated, its age is how long before the hit that happened.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache::Shared;
use crate::clock::Moment;
use crate::consistency::Consistency;
use crate::entry::{Found, Nothing, Origin};
use crate::key::Key;
use crate::load::{LoadFrom, Loaded};
use crate::mode::Mode;
use crate::plan::Plan;
use crate::record::SlotRecord;
use crate::stats::add_one;
use crate::tag::Slot;

/// How many hits are read again.
///
/// ```
/// use db_cache::{CacheConfig, SampleConfig};
///
/// let config = CacheConfig { sample: Some(SampleConfig::one_in(1_000)), ..CacheConfig::default() };
/// assert_eq!(config.sample.unwrap().most_a_second.get(), 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleConfig {
    /// Of so many hits one is read again.
    pub one_in: NonZeroU32,
    /// How many are read again in a second at most.
    pub most_a_second: NonZeroU32,
}

/// What reading hits again came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Samples {
    /// Hits whose value was compared.
    pub checked: u64,
    /// Of these, those whose value had been invalidated when it was served, within what their mode allows.
    pub behind: u64,
    /// Of these, those whose value was older than their mode allows, or that nothing would have dropped.
    pub wrong: u64,
    /// Hits that were chosen and not compared: their load failed or found no room, or a transaction was in
    /// doubt.
    pub undecided: u64,
    /// The age of the oldest value that was behind or wrong: how long before the hit it was invalidated at
    /// least; of one that nothing would have dropped, how long ago it was loaded.
    pub oldest: Duration,
    /// The age of the last one.
    pub last_age: Duration,
}

/// The sampler of one cache.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    counts: Mutex<Samples>,
    tokens: Mutex<Tokens>,
    nth: AtomicU64,
}

/// A token bucket: as many as a second has, never more.
#[derive(Debug, Default)]
struct Tokens {
    left: f64,
    at: Option<Moment>,
}

/// A hit as it was served.
pub(crate) struct Served<V> {
    found: Found<V>,
    at: Moment,
}

/// What a sample came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    Behind(Duration),
    Wrong(Duration),
    Undecided,
}

impl SampleConfig {
    /// One of so many, and at most ten a second.
    pub const fn one_in(hits: u32) -> Self {
        let one_in = NonZeroU32::new(hits);
        let one_in = if let Some(one_in) = one_in { one_in } else { NonZeroU32::MIN };
        SampleConfig { one_in, most_a_second: NonZeroU32::MIN.saturating_add(9) }
    }
}

impl Samples {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Samples) -> Samples {
        Samples {
            checked: self.checked.saturating_add(other.checked),
            behind: self.behind.saturating_add(other.behind),
            wrong: self.wrong.saturating_add(other.wrong),
            undecided: self.undecided.saturating_add(other.undecided),
            oldest: self.oldest.max(other.oldest),
            last_age: self.last_age.max(other.last_age),
        }
    }

    /// How consistent all reads are at least.
    pub fn consistency(&self) -> Consistency {
        Consistency::of(self.checked, self.wrong)
    }
}

impl Sampler {
    pub(crate) fn samples(&self) -> Samples {
        *lock(&self.counts)
    }

    /// Whether this hit is one that is read again.
    pub(crate) fn chooses(&self, config: Option<SampleConfig>) -> bool {
        let Some(config) = config else { return false };
        // Scrambled: every so-manieth of reads that repeat in a pattern would be the same few keys.
        scrambled(self.nth.fetch_add(1, Ordering::Relaxed)).is_multiple_of(u64::from(config.one_in.get()))
    }

    fn has_room(&self, config: SampleConfig, now: Moment) -> bool {
        let most = f64::from(config.most_a_second.get());
        let mut tokens = lock(&self.tokens);
        let since = tokens.at.map_or(Duration::from_secs(1), |at| now.since(at));
        tokens.left = (tokens.left + since.as_secs_f64() * most).min(most);
        tokens.at = Some(now);
        let has_room = tokens.left >= 1.0;
        if has_room {
            tokens.left -= 1.0;
        }
        has_room
    }

    fn count(&self, verdict: Verdict) {
        let mut counts = lock(&self.counts);
        counts.checked += u64::from(verdict != Verdict::Undecided);
        match verdict {
            Verdict::Right => {}
            Verdict::Undecided => counts.undecided += 1,
            Verdict::Behind(age) | Verdict::Wrong(age) => {
                counts.behind += u64::from(matches!(verdict, Verdict::Behind(_)));
                counts.wrong += u64::from(matches!(verdict, Verdict::Wrong(_)));
                counts.oldest = counts.oldest.max(age);
                counts.last_age = age;
            }
        }
    }
}

impl Shared {
    /// Reads a hit again, beside its caller.
    pub(crate) fn sample<K, V, E, F, L>(self: &Arc<Self>, key: &Key<K, V>, found: &Found<V>, load: F)
    where
        K: Serialize,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        if let Some(plan) = Plan::new(self, key, *self.mode_of(key)) {
            self.sample_planned(Arc::new(plan), found, load);
        }
    }

    /// As [`Shared::sample`], where the key was looked into already.
    pub(crate) fn sample_planned<V, E, F, L>(self: &Arc<Self>, plan: Arc<Plan<V>>, found: &Found<V>, load: F)
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let now = self.clock.now();
        if !self.config.sample.is_some_and(|config| self.sampler.has_room(config, now)) {
            return;
        }
        let served = Served { found: found.clone(), at: now };
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            let verdict = cache.compare(&plan, &served, load).await;
            if let Verdict::Wrong(age) = verdict {
                tracing::warn!(
                    keyspace = plan.keyspace,
                    ?age,
                    "a cached value was older than its mode allows: does a write not touch its tag, or is a load no function of its key?"
                );
            }
            cache.sampler.count(verdict);
        });
    }

    async fn compare<V, E, F, L>(&self, plan: &Plan<V>, served: &Served<V>, load: F) -> Verdict
    where
        V: Serialize + Send + Sync + 'static,
        F: Fn(LoadFrom) -> L,
        L: Future<Output = Result<Loaded<V>, E>>,
    {
        let Some(loaded) = self.load_beside_callers(plan, load).await else { return Verdict::Undecided };
        let served_bytes = match &served.found {
            Found::Value(value) => plan.codec.encode(&value.entry.value),
            Found::Nothing { .. } => None,
        };
        let is_same = served_bytes == loaded.value.as_ref().and_then(|value| plan.codec.encode(value));
        if is_same {
            return Verdict::Right;
        }
        match &served.found {
            Found::Value(value) => {
                let entry = &value.entry;
                self.judge_difference(plan, &entry.origin, entry.head.is_confirmed, served.at).await
            }
            // An entry that says that there is nothing is looked up again: it tells what it was made from.
            Found::Nothing { .. } => match self.first.get::<Nothing>(&plan.id) {
                Some(entry) => {
                    self.judge_difference(plan, &entry.origin, entry.head.is_confirmed, served.at).await
                }
                None => Verdict::Undecided,
            },
        }
    }

    /// Callers' loads come first: none where they hold all permits, and its own permit is given back at once.
    async fn load_beside_callers<V, E, F, L>(&self, plan: &Plan<V>, load: F) -> Option<Loaded<V>>
    where
        F: Fn(LoadFrom) -> L,
        L: Future<Output = Result<Loaded<V>, E>>,
    {
        let permits = self.permits(plan.keyspace, plan.policy.max_loads.get());
        let _permit = permits.try_acquire_owned().ok()?;
        add_one(&self.counts.loads);
        tokio::time::timeout(plan.policy.hard_timeout, load(LoadFrom::Primary)).await.ok()?.ok()
    }

    /// Whether a value that differs from the database was wrong when it was served.
    async fn judge_difference<V>(
        &self,
        plan: &Plan<V>,
        origin: &Origin,
        is_confirmed: bool,
        served: Moment,
    ) -> Verdict {
        let slots: Vec<Slot> = origin.stamps.iter().map(|(slot, _)| *slot).collect();
        let Ok(snapshot) = self.tier.ask(|tier| tier.read(&[], &slots)).await else {
            return Verdict::Undecided;
        };
        let Some(epoch) = snapshot.epoch.filter(|_| is_confirmed) else { return Verdict::Undecided };
        // Where a record is gone nobody knows when it changed.
        let records: Option<Vec<SlotRecord>> = snapshot.slots.iter().copied().collect();
        let Some(records) = records else { return Verdict::Undecided };
        if records.iter().any(|record| record.doubt.is_some()) {
            return Verdict::Undecided;
        }
        let stamped = origin.stamps.iter().map(|(_, word)| *word);
        let of_slots = records
            .iter()
            .zip(stamped)
            .filter_map(|(record, word)| (record.generation.bits() != word).then_some(record.changed.0));
        let of_epoch = (epoch.generation.bits() != origin.epoch).then_some(epoch.changed.0);
        // Since the first of its invalidations it has been old.
        let Some(changed) = of_slots.chain(of_epoch).min() else {
            return Verdict::Wrong(served.since(origin.as_of));
        };
        // By the tier's clock: how long ago it was invalidated, less how long ago it was served.
        let since_change = Duration::from_millis(snapshot.now.0.saturating_sub(changed));
        let age = since_change.saturating_sub(self.clock.now().since(served));
        let allowed = match plan.mode {
            Mode::Ttl => plan.ttl,
            Mode::Bounded(within) => within,
            Mode::Session(_) => self.config.longest_lease,
            Mode::Strict => Duration::ZERO,
        };
        match age {
            Duration::ZERO => Verdict::Right,
            age if age <= allowed.saturating_add(CLOCKS) => Verdict::Behind(age),
            age => Verdict::Wrong(age),
        }
    }
}

/// What two clocks in milliseconds and one that ticks every ten are apart.
const CLOCKS: Duration = Duration::from_millis(15);

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): numbers in a row become numbers by chance.
fn scrambled(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
