//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::Shared;
use crate::keyspace_counts::{CountedKeyspace, KeyspaceCounts, KeyspaceStats, hit_rate};
use crate::sampler::Samples;
use crate::second_tier::Usage;

/// Why a read was no hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Miss {
    /// There was no entry.
    Absent,
    /// Its time was over.
    Expired,
    /// What it was made from has changed.
    Invalidated,
    /// A transaction that touches it was in doubt.
    InDoubt,
    /// Its bytes were damaged.
    Damaged,
    /// It belonged to another key, scope or installation.
    OtherKey,
    /// It was of another codec or schema.
    OtherSchema,
    /// The second tier did not answer.
    TierDown,
    /// The second tier is not trusted: its epoch is of another run or another history, or the relay is
    /// behind.
    Distrusted,
}

/// Why a value that was loaded was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unkept {
    /// A transaction that touches it was in doubt.
    InDoubt,
    /// It was read where it may have been older than what it was made from.
    ReadElsewhere,
    /// It was read from a primary that has been replaced.
    OldHistory,
    /// It depended on another scope than its key names.
    OtherScope,
    /// Tags that only the value told have changed since the load began, or may have.
    LateTag,
    /// The second tier did not answer, or is not trusted.
    TierDown,
    /// The key or the value does not encode, or is too large.
    NotEncodable,
}

/// Why everything was dropped at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Drop {
    /// Changes may be missing from the feed.
    FeedLost,
    /// There is a new epoch.
    NewEpoch,
    /// The database has a new history: a failover, or another cluster.
    NewHistory,
}

/// What a cache has counted since it was made, and how it is now.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that the first tier answered.
    pub first_tier_hits: u64,
    /// Reads that the second tier answered.
    pub second_tier_hits: u64,
    /// Reads that neither answered, by why.
    pub misses: Vec<(Miss, u64)>,
    /// Loads that were begun.
    pub loads: u64,
    /// Loads that failed.
    pub failed_loads: u64,
    /// Reads that waited for a load which another read of this process had begun.
    pub coalesced: u64,
    /// Values that were loaded and not kept, by why.
    pub unkept: Vec<(Unkept, u64)>,
    /// Values that were served although their time was over.
    pub stale_served: u64,
    /// Values that were loaded anew before their time was over.
    pub early_refreshes: u64,
    /// Entries of the first tier that had to go for others.
    pub evictions: u64,
    /// The bytes that the first tier's entries take.
    pub bytes: u64,
    /// The number of the first tier's entries.
    pub entries: u64,
    /// Everything was dropped at once, by why.
    pub drops: Vec<(Drop, u64)>,
    /// Whether reads go past the second tier because it does not answer.
    pub breaker_open: bool,
    /// How often that has begun.
    pub breaker_opened: u64,
    /// How long ago the feed was last confirmed; none where it never was.
    pub feed_lag: Option<Duration>,
    /// Slots that this process has changed and the second tier has not heard of.
    pub unheard_slots: u64,
    /// Committed transactions that were answered before the second tier could be told, after
    /// [`CacheConfig::told_within`](crate::CacheConfig::told_within).
    pub answered_untold: u64,
    /// How full the second tier is, as it was last told.
    pub second_tier: Usage,
    /// What the reads of each keyspace came to, by name.
    pub keyspaces: Vec<KeyspaceStats>,
    /// What reading hits again came to, where [`CacheConfig::sample`](crate::CacheConfig::sample) asks for
    /// that.
    pub samples: Samples,
}

impl CacheStats {
    /// Which part of all reads a tier answered, from 0 to 1; none where there were none.
    pub fn hit_rate(&self) -> Option<f64> {
        let (asked, answered) = self.asked_and_answered();
        hit_rate(answered, asked.saturating_sub(answered))
    }

    /// How many reads there were, and how many of them a tier answered.
    pub fn asked_and_answered(&self) -> (u64, u64) {
        let misses: u64 = self.misses.iter().map(|(_, times)| times).sum();
        let hits = self.first_tier_hits.saturating_add(self.second_tier_hits);
        (hits.saturating_add(misses), hits)
    }

    /// What the reads of one keyspace came to; none where there were none.
    pub fn keyspace(&self, name: &str) -> Option<&KeyspaceStats> {
        self.keyspaces.iter().find(|keyspace| keyspace.name == name)
    }
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) keyspaces: KeyspaceCounts,
    misses: [AtomicU64; Miss::ALL.len()],
    unkept: [AtomicU64; Unkept::ALL.len()],
    drops: [AtomicU64; Drop::ALL.len()],
    pub(crate) loads: AtomicU64,
    pub(crate) failed_loads: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) stale_served: AtomicU64,
    pub(crate) early_refreshes: AtomicU64,
    pub(crate) answered_untold: AtomicU64,
}

impl Counts {
    pub(crate) fn missed(&self, keyspace: CountedKeyspace, why: Miss) {
        self.keyspaces.missed(keyspace);
        add_one(&self.misses[why as usize]);
    }

    pub(crate) fn not_kept(&self, why: Unkept) {
        add_one(&self.unkept[why as usize]);
    }

    /// Counts it; how often it has happened, for whoever warns.
    pub(crate) fn dropped(&self, why: Drop) -> u64 {
        self.drops[why as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn misses(&self) -> Vec<(Miss, u64)> {
        pairs(&Miss::ALL, &self.misses)
    }

    pub(crate) fn unkept(&self) -> Vec<(Unkept, u64)> {
        pairs(&Unkept::ALL, &self.unkept)
    }

    pub(crate) fn drops(&self) -> Vec<(Drop, u64)> {
        pairs(&Drop::ALL, &self.drops)
    }
}

impl Shared {
    pub(crate) fn stats(&self) -> CacheStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        let keyspaces = counts.keyspaces.stats();
        CacheStats {
            first_tier_hits: keyspaces.iter().map(|keyspace| keyspace.first_tier_hits).sum(),
            second_tier_hits: keyspaces.iter().map(|keyspace| keyspace.second_tier_hits).sum(),
            misses: counts.misses(),
            loads: get(&counts.loads),
            failed_loads: get(&counts.failed_loads),
            coalesced: get(&counts.coalesced),
            unkept: counts.unkept(),
            stale_served: get(&counts.stale_served),
            early_refreshes: get(&counts.early_refreshes),
            evictions: self.first.evicted(),
            bytes: self.first.bytes(),
            entries: self.first.entries(),
            drops: counts.drops(),
            breaker_open: self.tier.is_open(),
            breaker_opened: self.tier.opened(),
            feed_lag: self.knowledge.confirmed_at().map(|at| self.clock.now().since(at)),
            unheard_slots: self.unheard.len() as u64,
            answered_untold: get(&counts.answered_untold),
            second_tier: self.unheard.usage(),
            keyspaces,
            samples: self.sampler.samples(),
        }
    }
}

pub(crate) fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn pairs<T: Copy>(all: &[T], counters: &[AtomicU64]) -> Vec<(T, u64)> {
    all.iter().copied().zip(counters.iter().map(|counter| counter.load(Ordering::Relaxed))).collect()
}

macro_rules! labels {
    ($type:ident { $($variant:ident => $label:literal,)* }) => {
        impl $type {
            /// All of them, in the order in which reports list them.
            pub const ALL: [$type; [$($label),*].len()] = [$($type::$variant),*];

            /// It as a metric label: lower case, stable.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $label,)* }
            }
        }
    };
}

labels!(Miss {
    Absent => "absent",
    Expired => "expired",
    Invalidated => "invalidated",
    InDoubt => "in_doubt",
    Damaged => "damaged",
    OtherKey => "other_key",
    OtherSchema => "other_schema",
    TierDown => "tier_down",
    Distrusted => "distrusted",
});
labels!(Unkept {
    InDoubt => "in_doubt",
    ReadElsewhere => "read_elsewhere",
    OldHistory => "old_history",
    OtherScope => "other_scope",
    LateTag => "late_tag",
    TierDown => "tier_down",
    NotEncodable => "not_encodable",
});
labels!(Drop {
    FeedLost => "feed_lost",
    NewEpoch => "new_epoch",
    NewHistory => "new_history",
});
