//! Counts what the router did, and why.

use std::iter::Sum;
use std::ops::Add;
#[cfg(feature = "otel")]
use std::sync::OnceLock;
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

/// Reads, by why they went where they went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReadCounts {
    /// To a standby that was fresh enough; while there is no primary, to any that is alive.
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

impl Add for ReadCounts {
    type Output = ReadCounts;

    fn add(self, other: ReadCounts) -> ReadCounts {
        ReadCounts {
            fresh: self.fresh + other.fresh,
            token: self.token + other.token,
            token_after_wait: self.token_after_wait + other.token_after_wait,
            token_fallback: self.token_fallback + other.token_fallback,
            fallback: self.fallback + other.fallback,
            primary: self.primary + other.primary,
        }
    }
}

impl Sum for ReadCounts {
    fn sum<I: Iterator<Item = ReadCounts>>(all: I) -> ReadCounts {
        all.fold(ReadCounts::default(), Add::add)
    }
}

/// Counts the reads of one node.
#[derive(Debug, Default)]
pub(crate) struct Reads([AtomicU64; 6]);

impl Reads {
    pub(crate) fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counted(&self) -> ReadCounts {
        let count = |reason: Reason| AtomicU64::load(&self.0[reason as usize], Ordering::Relaxed);
        ReadCounts {
            fresh: count(Reason::Fresh),
            token: count(Reason::Token),
            token_after_wait: count(Reason::TokenAfterWait),
            token_fallback: count(Reason::TokenFallback),
            fallback: count(Reason::Fallback),
            primary: count(Reason::Asked),
        }
    }
}

/// Counts what happened to all nodes together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    failovers: AtomicU64,
    conflicts: AtomicU64,
    lost_bytes: AtomicU64,
    last_failover: Mutex<Option<(Duration, Option<u64>)>>,
    /// Where the durations of failovers are recorded, too.
    #[cfg(feature = "otel")]
    pub(crate) instrument: OnceLock<opentelemetry::metrics::Histogram<f64>>,
}

impl Counts {
    /// Another node became the writer; it took so long, and the node lacks so many bytes of the old one's
    /// log, where that is known.
    pub(crate) fn failover(&self, took: Duration, lacks: Option<u64>) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
        self.lost_bytes.fetch_add(lacks.unwrap_or(0), Ordering::Relaxed);
        *self.last_failover.lock().unwrap_or_else(PoisonError::into_inner) = Some((took, lacks));
        #[cfg(feature = "otel")]
        if let Some(instrument) = self.instrument.get() {
            instrument.record(took.as_secs_f64(), &[]);
        }
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failovers(&self) -> u64 {
        AtomicU64::load(&self.failovers, Ordering::Relaxed)
    }

    pub(crate) fn conflicts(&self) -> u64 {
        AtomicU64::load(&self.conflicts, Ordering::Relaxed)
    }

    pub(crate) fn lost_bytes(&self) -> u64 {
        AtomicU64::load(&self.lost_bytes, Ordering::Relaxed)
    }

    pub(crate) fn last_failover(&self) -> Option<(Duration, Option<u64>)> {
        *self.last_failover.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
