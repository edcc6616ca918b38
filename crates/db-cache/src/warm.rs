//! Fills the first tier before anybody asks: batch by batch, at a bounded rate.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::cache::{Cache, Shared};
use crate::entry::Found;
use crate::keys::Keys;
use crate::load::LoadFrom;
use crate::loaded_many::LoadedMany;

/// How fast a cache is warmed.
///
/// ```
/// use db_cache::WarmConfig;
///
/// let gentle = WarmConfig { keys_per_second: 100.try_into().unwrap(), ..WarmConfig::default() };
/// assert_eq!(gentle.keys_a_batch.get(), 100);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmConfig {
    /// How many keys are asked for in a second at most. Those that the first tier has already do not count.
    pub keys_per_second: NonZeroU32,
    /// How many keys one load brings at most.
    pub keys_a_batch: NonZeroU32,
}

/// How far warming is, or what it came to.
///
/// ```
/// use db_cache::Warmed;
///
/// assert_eq!(Warmed::default().to_string(), "0 of 0 keys: 0 with a value, 0 without, 0 failed, in 0ns");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Warmed {
    /// How many keys there are to warm.
    pub keys: u64,
    /// How many of them are done.
    pub done: u64,
    /// Of these, how many have a value in the first tier now.
    pub values: u64,
    /// Of these, how many have none.
    pub absent: u64,
    /// Of these, how many could not be loaded.
    pub failed: u64,
    /// How long it has taken.
    pub took: Duration,
}

impl Default for WarmConfig {
    fn default() -> Self {
        let of = |number: u32| NonZeroU32::MIN.saturating_add(number - 1);
        WarmConfig { keys_per_second: of(1_000), keys_a_batch: of(100) }
    }
}

impl Warmed {
    /// Both together, one after the other.
    #[must_use]
    pub fn and(self, other: Warmed) -> Warmed {
        Warmed {
            keys: self.keys.saturating_add(other.keys),
            done: self.done.saturating_add(other.done),
            values: self.values.saturating_add(other.values),
            absent: self.absent.saturating_add(other.absent),
            failed: self.failed.saturating_add(other.failed),
            took: self.took.saturating_add(other.took),
        }
    }
}

impl std::fmt::Display for Warmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Warmed { keys, done, values, absent, failed, took } = self;
        write!(
            f,
            "{done} of {keys} keys: {values} with a value, {absent} without, {failed} failed, in {took:?}"
        )
    }
}

impl Cache {
    /// Brings keys into the first tier: from the second where they are valid there, else by `load`, as
    /// [`Cache::get_many_with`] does. `progress` is called after each batch, within this task.
    ///
    /// A key that fails does not end it. It goes on at most at the configured rate, from the first key to the
    /// last: begin with the dearest.
    ///
    /// # Errors
    /// None: what failed is counted.
    ///
    /// # Cancel safety
    /// Dropping the future ends it after the batch that is under way.
    pub async fn warm<K, V, E, F, L>(
        &self,
        keys: &Keys<K, V>,
        config: WarmConfig,
        progress: impl Fn(&Warmed) + Send + Sync,
        load: F,
    ) -> Warmed
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Clone + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        self.shared.wait_for_feed().await;
        let begun = Instant::now();
        let mut warmed = Warmed { keys: keys.len() as u64, ..Warmed::default() };
        let mut missing = Vec::new();
        for key in keys.each() {
            match self.shared.first_tier_has(&key) {
                Some(Found::Value(_)) => warmed.values += 1,
                Some(Found::Nothing { .. }) => warmed.absent += 1,
                None => missing.push(key.key().clone()),
            }
        }
        warmed.done = warmed.values + warmed.absent;
        let mut asked: u64 = 0;
        for batch in missing.chunks(config.keys_a_batch.get() as usize) {
            wait_for_turn(begun, asked, config.keys_per_second).await;
            asked = asked.saturating_add(batch.len() as u64);
            let answers = self.get_many_with(&keys.with_keys(batch.to_vec()), load.clone()).await;
            for answer in answers.into_values() {
                warmed.done += 1;
                match answer {
                    Ok(Some(_)) => warmed.values += 1,
                    Ok(None) => warmed.absent += 1,
                    Err(_) => warmed.failed += 1,
                }
            }
            warmed.took = begun.elapsed();
            progress(&warmed);
        }
        warmed.took = begun.elapsed();
        warmed
    }
}

impl Shared {
    /// What is brought before the feed is read for the first time is not kept by the first tier.
    async fn wait_for_feed(&self) {
        let until = Instant::now().checked_add(self.config.longest_lease);
        while self.knowledge.confirmed_at().is_none() && until.is_some_and(|until| Instant::now() < until) {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Waits until so many keys may have been asked for.
async fn wait_for_turn(begun: Instant, asked: u64, keys_per_second: NonZeroU32) {
    let due = Duration::try_from_secs_f64(asked as f64 / f64::from(keys_per_second.get()));
    if let Some(due) = due.ok().and_then(|due| begun.checked_add(due)) {
        tokio::time::sleep_until(due).await;
    }
}
