//! What a pool has done so far.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use db_core::Result;

use crate::histogram::Histogram;

#[derive(Default)]
pub(crate) struct Counters {
    /// Callers that wait for a connection.
    waiting: AtomicUsize,
    /// Callers that wait for something before that: a place in their class, the end of a suspension.
    held_back: AtomicUsize,
    salvaging: AtomicUsize,
    acquires: AtomicU64,
    timeouts: AtomicU64,
    destroys: AtomicU64,
    connect_errors: AtomicU64,
    salvages: AtomicU64,
    abandoned: AtomicU64,
    leaks: AtomicU64,
    pub(crate) waits: Histogram,
    pub(crate) holds: Histogram,
    pub(crate) creates: Histogram,
}

fn read(counter: &AtomicU64) -> u64 {
    AtomicU64::load(counter, Ordering::Relaxed)
}

impl Counters {
    /// Counts a connection that is handed out, and says which one it is.
    pub(crate) fn acquired(&self) -> u64 {
        self.acquires.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn held(&self, duration: Duration) {
        self.holds.record(duration);
    }

    pub(crate) fn destroyed(&self) {
        self.destroys.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connect_failed(&self) {
        self.connect_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn salvaging(&self, change: isize) {
        let add = |count: usize| count.checked_add_signed(change);
        let _ = self.salvaging.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub(crate) fn salvaged(&self) {
        self.salvages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leaked(&self) {
        self.leaks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Counts a caller that waits for a connection, unless `limit` already do.
    pub(crate) fn wait(&self, limit: usize) -> Result<Waiting<'_>, usize> {
        Waiting::enter(&self.waiting, limit)
    }

    /// Counts a caller that may not yet wait for a connection, unless `limit` are already held back.
    pub(crate) fn hold_back(&self, limit: usize) -> Result<Waiting<'_>, usize> {
        Waiting::enter(&self.held_back, limit)
    }

    pub(crate) fn write_to(&self, status: &mut crate::Status) {
        status.waiting = self.waiting() + self.held_back.load(Ordering::Relaxed);
        status.salvaging = self.salvaging.load(Ordering::Relaxed);
        status.acquires = read(&self.acquires);
        status.timeouts = read(&self.timeouts);
        status.destroys = read(&self.destroys);
        status.connect_errors = read(&self.connect_errors);
        status.salvages = read(&self.salvages);
        status.abandoned = read(&self.abandoned);
        status.leaks = read(&self.leaks);
        status.wait_times = self.waits.read();
        status.hold_times = self.holds.read();
        status.create_times = self.creates.read();
    }
}

/// Counts one waiting caller for as long as it lives.
pub(crate) struct Waiting<'a> {
    count: &'a AtomicUsize,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, limit: usize) -> Result<Self, usize> {
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < limit).then_some(waiting + 1)
        })?;
        Ok(Waiting { count })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}
