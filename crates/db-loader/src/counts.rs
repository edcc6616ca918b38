//! What a loader and all of its scopes have done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use db_core::{Measure, MeasureKind};

/// What a loader and all of its scopes have done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadCounts {
    /// Keys that were asked for.
    pub loads: u64,
    /// Of these, how many a scope remembered.
    pub remembered: u64,
    /// Of these, how many were queued or being loaded for somebody else.
    pub joined: u64,
    /// Keys that went to a batch function.
    pub keys: u64,
    /// Of these, how many it did not find.
    pub missing: u64,
    /// Keys that it answered although nobody had asked.
    pub unasked: u64,
    /// Keys that were not loaded, because everybody who wanted them had gone.
    pub abandoned: u64,
    /// Batches that succeeded.
    pub succeeded: u64,
    /// Batches whose function failed.
    pub failed: u64,
    /// Batches whose function panicked.
    pub panicked: u64,
    /// Batches that ran into the timeout.
    pub timed_out: u64,
}

impl LoadCounts {
    /// Batches that ended, in whatever way.
    pub fn batches(&self) -> u64 {
        self.succeeded + self.failed + self.panicked + self.timed_out
    }

    /// The same as figures of the loader of this name, for a [`Part`](https://docs.rs/db-core)'s metrics.
    pub fn measures(&self, loader: &str) -> Vec<Measure> {
        let counter = |name, unit, value: u64| {
            Measure::new(name, MeasureKind::Counter, unit, value as f64).with("db.loader.name", loader)
        };
        let loads = |source, value| counter("db.loader.loads", "{load}", value).with("source", source);
        let batches =
            |outcome, value| counter("db.loader.batches", "{batch}", value).with("outcome", outcome);
        vec![
            loads("memo", self.remembered),
            loads("joined", self.joined),
            loads("queued", self.loads.saturating_sub(self.remembered).saturating_sub(self.joined)),
            counter("db.loader.keys", "{key}", self.keys),
            counter("db.loader.missing", "{key}", self.missing),
            counter("db.loader.unasked", "{key}", self.unasked),
            counter("db.loader.abandoned", "{key}", self.abandoned),
            batches("succeeded", self.succeeded),
            batches("failed", self.failed),
            batches("panicked", self.panicked),
            batches("timed_out", self.timed_out),
        ]
    }
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) loads: AtomicU64,
    pub(crate) remembered: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) keys: AtomicU64,
    pub(crate) missing: AtomicU64,
    pub(crate) unasked: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) succeeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    #[cfg(feature = "otel")]
    pub(crate) instruments: std::sync::OnceLock<crate::metrics::Instruments>,
}

impl Counters {
    pub(crate) fn read(&self) -> LoadCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoadCounts {
            loads: of(&self.loads),
            remembered: of(&self.remembered),
            joined: of(&self.joined),
            keys: of(&self.keys),
            missing: of(&self.missing),
            unasked: of(&self.unasked),
            abandoned: of(&self.abandoned),
            succeeded: of(&self.succeeded),
            failed: of(&self.failed),
            panicked: of(&self.panicked),
            timed_out: of(&self.timed_out),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
