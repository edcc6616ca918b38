//! Counts what the router did, and why.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Why a node was chosen for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Fresh,
    Token,
    TokenAfterWait,
    TokenFallback,
    Fallback,
    Asked,
}

/// Where reads went, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReadCounts {
    /// To a standby that was fresh enough.
    pub fresh: u64,
    /// To a standby known to have replayed the read's token.
    pub token: u64,
    /// The same, after a wait until one had.
    pub token_after_wait: u64,
    /// To the primary, because no standby had replayed the read's token in time.
    pub token_fallback: u64,
    /// To the primary, because no standby was fresh enough.
    pub fallback: u64,
    /// To the primary, because that was asked for.
    pub primary: u64,
}

impl ReadCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_standbys() + self.token_fallback + self.fallback + self.primary
    }

    /// Those that standbys answered.
    pub fn by_standbys(&self) -> u64 {
        self.fresh + self.token + self.token_after_wait
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    reads: [AtomicU64; 6],
    failovers: AtomicU64,
    conflicts: AtomicU64,
    last_failover: Mutex<Option<Duration>>,
}

impl Counts {
    /// Counts a read for its reason; the ordinary ones are what is left of all.
    pub(crate) fn read(&self, reason: Reason) {
        if reason != Reason::Fresh {
            self.reads[reason as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn failover(&self, took: Duration) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
        *self.last_failover.lock().unwrap_or_else(PoisonError::into_inner) = Some(took);
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    /// Where reads went, given how many there were in all.
    pub(crate) fn reads(&self, total: u64) -> ReadCounts {
        let count = |reason: Reason| AtomicU64::load(&self.reads[reason as usize], Ordering::Relaxed);
        let mut reads = ReadCounts {
            fresh: 0,
            token: count(Reason::Token),
            token_after_wait: count(Reason::TokenAfterWait),
            token_fallback: count(Reason::TokenFallback),
            fallback: count(Reason::Fallback),
            primary: count(Reason::Asked),
        };
        reads.fresh = total.saturating_sub(reads.total());
        reads
    }

    pub(crate) fn failovers(&self) -> u64 {
        AtomicU64::load(&self.failovers, Ordering::Relaxed)
    }

    pub(crate) fn conflicts(&self) -> u64 {
        AtomicU64::load(&self.conflicts, Ordering::Relaxed)
    }

    pub(crate) fn last_failover(&self) -> Option<Duration> {
        *self.last_failover.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
