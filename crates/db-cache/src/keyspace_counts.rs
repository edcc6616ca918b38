//! What is counted for each keyspace, so that its hit rate is known.
//!
//! A keyspace is a `static` that any number of caches may use: it has a number in the process, and each cache
//! has counters by number.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::counters::Striped;
use crate::stats::add_one;

/// What the reads of one keyspace came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyspaceStats {
    /// Its name; `others` for those that came after the first 255.
    pub name: &'static str,
    /// Reads that the first tier answered.
    pub first_tier_hits: u64,
    /// Reads that the second tier answered.
    pub second_tier_hits: u64,
    /// Reads that neither answered.
    pub misses: u64,
}

/// A keyspace's number in this process, given when it is first counted.
#[derive(Debug)]
pub(crate) struct KeyspaceNumber(AtomicU32);

/// A keyspace, for the counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedKeyspace {
    pub(crate) number: usize,
    pub(crate) name: &'static str,
}

/// The counters of all keyspaces.
#[derive(Debug)]
pub(crate) struct KeyspaceCounts(Box<[OnceLock<Box<OneKeyspace>>]>);

/// The counters of one keyspace.
#[derive(Debug)]
pub(crate) struct OneKeyspace {
    name: &'static str,
    pub(crate) first_tier_hits: Striped,
    pub(crate) second_tier_hits: AtomicU64,
    pub(crate) misses: AtomicU64,
}

/// A service has a few dozen keyspaces, and each is a series of its own in a metric.
const MOST: usize = 256;

impl KeyspaceStats {
    /// Which part of its reads a tier answered, from 0 to 1; none where there were none.
    pub fn hit_rate(&self) -> Option<f64> {
        let hits = self.first_tier_hits.saturating_add(self.second_tier_hits);
        hit_rate(hits, self.misses)
    }
}

/// Which part of all reads were hits; none where there were none.
pub(crate) fn hit_rate(hits: u64, misses: u64) -> Option<f64> {
    let all = hits.saturating_add(misses);
    (all > 0).then(|| hits as f64 / all as f64)
}

impl KeyspaceNumber {
    pub(crate) const fn unset() -> Self {
        KeyspaceNumber(AtomicU32::new(0))
    }

    #[inline]
    pub(crate) fn get(&self) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => self.take() as usize,
            number => number as usize,
        }
    }

    #[cold]
    fn take(&self) -> u32 {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let own = LAST.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.0
            .compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|other| other, |_| own)
    }
}

impl KeyspaceCounts {
    #[inline]
    pub(crate) fn of(&self, keyspace: CountedKeyspace) -> Option<&OneKeyspace> {
        let place = keyspace.number.min(MOST - 1);
        let name = if keyspace.number < MOST - 1 { keyspace.name } else { "others" };
        Some(&**self.0.get(place)?.get_or_init(|| Box::new(OneKeyspace::new(name))))
    }

    pub(crate) fn second_tier_hit(&self, keyspace: CountedKeyspace) {
        if let Some(counts) = self.of(keyspace) {
            add_one(&counts.second_tier_hits);
        }
    }

    pub(crate) fn missed(&self, keyspace: CountedKeyspace) {
        if let Some(counts) = self.of(keyspace) {
            add_one(&counts.misses);
        }
    }

    /// What each has counted, by name: keyspaces of one name count together.
    pub(crate) fn stats(&self) -> Vec<KeyspaceStats> {
        let mut all: BTreeMap<&str, KeyspaceStats> = BTreeMap::new();
        for one in self.0.iter().filter_map(OnceLock::get) {
            let sum = all.entry(one.name).or_insert(KeyspaceStats {
                name: one.name,
                first_tier_hits: 0,
                second_tier_hits: 0,
                misses: 0,
            });
            sum.first_tier_hits += one.first_tier_hits.get();
            sum.second_tier_hits += one.second_tier_hits.load(Ordering::Relaxed);
            sum.misses += one.misses.load(Ordering::Relaxed);
        }
        all.into_values().collect()
    }
}

impl Default for KeyspaceCounts {
    fn default() -> Self {
        KeyspaceCounts((0..MOST).map(|_| OnceLock::new()).collect())
    }
}

impl OneKeyspace {
    fn new(name: &'static str) -> Self {
        OneKeyspace {
            name,
            first_tier_hits: Striped::default(),
            second_tier_hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyspaces_of_one_name_count_together_and_too_many_as_others() {
        let counts = KeyspaceCounts::default();
        let at = |number, name| CountedKeyspace { number, name };
        counts.second_tier_hit(at(1, "users"));
        counts.missed(at(2, "users"));
        counts.missed(at(MOST + 7, "late"));
        counts.missed(at(MOST + 8, "later"));
        let stats = counts.stats();
        let read: Vec<_> = stats.iter().map(|one| (one.name, one.misses, one.hit_rate())).collect();
        assert_eq!(read, [("others", 2, Some(0.0)), ("users", 1, Some(0.5))]);
    }
}
