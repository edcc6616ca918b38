//! The hot keys of a service, kept in the second tier so that the next run can warm its cache.
//!
//! A key's weight is what its loads would cost a second without a cache: how often it is asked for, times
//! what one load takes. The list is bounded in keys and in bytes, and each process adds its own to what the
//! others have saved, whose weight halves each time, so that what nobody asks for any more is displaced.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Weak;
use std::sync::atomic::Ordering as Memory;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::{ASKS_EVERY, Cache, Shared};
use crate::clock::Moment;
use crate::entry::{Head, Origin};
use crate::key::EntryKey;
use crate::keys::Keys;
use crate::keyspace::Keyspace;
use crate::second_tier::{Answer, SecondTier, Store};
use crate::tier_error::{TierError, TierFailure};

/// A key as it is saved: the bytes of its identity, which hold the keyspace's name and its scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct HotKey {
    id: Vec<u8>,
    weight: f32,
}

/// How many keys are saved at most, and how many bytes they take.
const MOST_KEYS: usize = 25_000;
const MOST_BYTES: usize = 1 << 20;

/// How long a list is kept: a service that was stopped over the holidays starts warm.
const KEEP: Duration = Duration::from_secs(14 * 86_400);

/// How often a process saves.
const EVERY: Duration = Duration::from_secs(30);

/// How long the second tier may take for the list.
const WITHIN: Duration = Duration::from_secs(1);

/// What a load costs at least: the clock is coarse.
const LEAST_COST: Duration = Duration::from_micros(100);

impl Cache {
    /// Saves the keys of the first tier that are dearest to be without, for [`Cache::saved_keys`] of the next
    /// run: how many there are now in the second tier. With
    /// [`CacheConfig::warming`](crate::CacheConfig::warming) it is done every 30 seconds. Keys with a scope
    /// are left out.
    ///
    /// # Errors
    /// Where the second tier does not answer. Without one nothing is saved, and that is no error.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the list as it was.
    pub async fn save_hot_keys(&self) -> Result<usize, TierError> {
        self.shared.save_hot_keys().await
    }

    /// The keys of a keyspace that were hot when they were last saved, the dearest first.
    ///
    /// # Errors
    /// Where the second tier does not answer.
    pub async fn saved_keys<K, V>(&self, keyspace: &'static Keyspace<K, V>) -> Result<Keys<K, V>, TierError>
    where
        K: DeserializeOwned + Clone + Eq + Hash,
    {
        let saved = self.shared.saved_hot_keys().await?;
        let keys = saved.iter().filter_map(|hot| {
            let (name, scope, key) = parts(&hot.id)?;
            let (key, rest) = postcard::take_from_bytes::<K>(key).ok()?;
            (name == keyspace.name() && scope.is_empty() && rest.is_empty()).then_some(key)
        });
        Ok(keyspace.keys(keys))
    }
}

impl Shared {
    async fn save_hot_keys(&self) -> Result<usize, TierError> {
        if self.is_alone {
            return Ok(0);
        }
        let others = self.saved_hot_keys().await?;
        let merged = merge(self.hot_keys_here(), others);
        let bytes = encode(&merged).unwrap_or_default();
        let key = hot_list(&self.config.installation);
        let store = Store { key, bytes, keep: KEEP, release: None, learned: None };
        within(self.tier.tier().store(&store)).await?;
        Ok(merged.len())
    }

    async fn saved_hot_keys(&self) -> Result<Vec<HotKey>, TierError> {
        read_list(self.tier.tier(), &self.config.installation).await
    }

    fn hot_keys_here(&self) -> Vec<HotKey> {
        let (now, mut keys) = (self.clock.now(), Vec::new());
        self.first.for_each(|head, origin| {
            let id = head.key.bytes();
            if parts(&id).is_some_and(|(_, scope, _)| scope.is_empty()) {
                keys.push(HotKey { id: id.into_owned(), weight: weight(head, origin, now) });
            }
        });
        keys
    }
}

/// Saves until the cache is gone.
pub(crate) async fn save_now_and_then(cache: Weak<Shared>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(cache) = cache.upgrade() else { return };
        if let Err(error) = cache.save_hot_keys().await {
            tracing::debug!(%error, "the hot keys of the cache cannot be saved");
        }
    }
}

/// What the loads of a key would cost a second without a cache.
fn weight(head: &Head, origin: &Origin, now: Moment) -> f32 {
    let asks = f64::from(head.asks.load(Memory::Relaxed)) * ASKS_EVERY as f64 + 1.0;
    let age = now.since(origin.as_of).max(Duration::from_secs(1));
    (asks / age.as_secs_f64() * origin.cost.max(LEAST_COST).as_secs_f64()) as f32
}

/// The dearest of both, each once, as many as may be saved.
fn merge(own: Vec<HotKey>, others: Vec<HotKey>) -> Vec<HotKey> {
    let mut weights: HashMap<Vec<u8>, f32> =
        others.into_iter().map(|hot| (hot.id, hot.weight / 2.0)).collect();
    for hot in own {
        let weight = weights.entry(hot.id).or_default();
        *weight = weight.max(hot.weight);
    }
    let mut all: Vec<HotKey> = weights.into_iter().map(|(id, weight)| HotKey { id, weight }).collect();
    // Equal weights in a fixed order, so that processes agree on who stays.
    all.sort_by(|a, b| {
        b.weight.partial_cmp(&a.weight).unwrap_or(Ordering::Equal).then_with(|| a.id.cmp(&b.id))
    });
    let mut bytes = 0;
    all.retain(|hot| {
        bytes += hot.id.len() + 8;
        bytes <= MOST_BYTES
    });
    all.truncate(MOST_KEYS);
    all
}

/// A keyspace's name, a scope and a key, as [`KeyId`](crate::key_id::KeyId) writes them.
fn parts(id: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let ((name, scope), key) = postcard::take_from_bytes::<(&str, &[u8])>(id).ok()?;
    Some((name, scope, key))
}

fn encode(keys: &[HotKey]) -> Option<Vec<u8>> {
    Some(sealed(&postcard::to_stdvec(keys).ok()?))
}

/// The list; none where its bytes are damaged or another version's.
fn decode(bytes: &[u8]) -> Option<Vec<HotKey>> {
    postcard::from_bytes(checked(bytes)?).ok()
}

/// Bytes with their checksum before them.
pub(crate) fn sealed(payload: &[u8]) -> Vec<u8> {
    [&xxh3_64(payload).to_le_bytes()[..], payload].concat()
}

/// The same without it; none where they are damaged.
pub(crate) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, payload) = bytes.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*sum) == xxh3_64(payload)).then_some(payload)
}

/// How many keys are saved, by keyspace.
pub(crate) async fn saved_in(
    tier: &dyn SecondTier,
    installation: &str,
) -> Result<Vec<(String, usize)>, TierError> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for hot in read_list(tier, installation).await? {
        if let Some((name, ..)) = parts(&hot.id) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    Ok(counts.into_iter().collect())
}

async fn read_list(tier: &dyn SecondTier, installation: &str) -> Result<Vec<HotKey>, TierError> {
    let snapshot = within(tier.read(&[hot_list(installation)], &[])).await?;
    let bytes = snapshot.entries.into_iter().next().flatten();
    Ok(bytes.and_then(|bytes| decode(&bytes)).unwrap_or_default())
}

/// No entry's key begins so: each begins with the length of the installation's name.
fn hot_list(installation: &str) -> EntryKey {
    EntryKey::from_bytes([b"hotkeys\xff", installation.as_bytes()].concat())
}

/// What the tier answers, if it does so in time: nobody's read waits for this.
pub(crate) async fn within<T>(answer: Answer<'_, T>) -> Result<T, TierError> {
    tokio::time::timeout(WITHIN, answer).await.unwrap_or_else(|_| {
        Err(TierError::new(TierFailure::TimedOut, format!("it took longer than {WITHIN:?}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(id: &[u8], weight: f32) -> HotKey {
        HotKey { id: id.to_vec(), weight }
    }

    #[test]
    fn the_dearest_stay_and_what_nobody_asks_for_is_displaced() {
        let merged = merge(vec![hot(b"b", 3.0), hot(b"a", 1.0)], vec![hot(b"a", 8.0), hot(b"c", 1.0)]);
        let order: Vec<_> = merged.iter().map(|hot| (&hot.id[..], hot.weight)).collect();
        assert_eq!(order, [(&b"a"[..], 4.0), (b"b", 3.0), (b"c", 0.5)]);
        let many = (0..MOST_KEYS as u32 + 5).map(|n| hot(&n.to_le_bytes(), n as f32)).collect();
        let kept = merge(many, vec![hot(b"old", 1.0)]);
        assert_eq!(kept.len(), MOST_KEYS);
        assert!(kept.iter().all(|hot| hot.id != b"old"));
        let large = (0..40).map(|n| hot(&[n; 100_000], 1.0)).collect();
        assert_eq!(merge(large, Vec::new()).len(), 10);
    }

    #[test]
    fn a_damaged_list_is_none() {
        let bytes = encode(&[hot(b"a", 1.0)]).unwrap();
        assert_eq!(decode(&bytes), Some(vec![hot(b"a", 1.0)]));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(decode(&damaged), None, "{place}");
        }
        assert_eq!(decode(b"short"), None);
    }
}
