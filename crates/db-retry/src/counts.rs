//! Counts retries by the class of what made them necessary, and lost COMMITs by what became of them.

use std::sync::atomic::{AtomicU64, Ordering};

use db_core::{Class, CommitOutcome};

/// How many attempts were made again, by the class of the failure before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryCounts {
    counts: [u64; Class::ALL.len()],
}

impl RetryCounts {
    /// Retries after failures of one class.
    pub fn of(&self, class: Class) -> u64 {
        self.counts[index(class)]
    }

    /// Retries after failures of any class.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The classes and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().map(|class| (class, self.of(class)))
    }
}

/// How many COMMITs were left without an answer, by what was found out about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitCounts {
    /// They had committed: the caller got the work's value.
    pub committed: u64,
    /// They had not, and never will: the transaction ran again where it could.
    pub rolled_back: u64,
    /// Nobody could tell: the caller got [`CommitUnknown`](db_core::Error::CommitUnknown).
    pub unknown: u64,
}

impl CommitCounts {
    /// All COMMITs that were left without an answer.
    pub fn lost(&self) -> u64 {
        self.committed + self.rolled_back + self.unknown
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter {
    retries: [AtomicU64; Class::ALL.len()],
    committed: AtomicU64,
    rolled_back: AtomicU64,
    unknown: AtomicU64,
}

impl Counter {
    pub(crate) fn add(&self, class: Class) {
        self.retries[index(class)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_commit(&self, outcome: CommitOutcome) {
        let counter = match outcome {
            CommitOutcome::Committed => &self.committed,
            CommitOutcome::RolledBack => &self.rolled_back,
            CommitOutcome::Unknown => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retries(&self) -> RetryCounts {
        RetryCounts { counts: self.retries.each_ref().map(|count| count.load(Ordering::Relaxed)) }
    }

    pub(crate) fn commits(&self) -> CommitCounts {
        CommitCounts {
            committed: AtomicU64::load(&self.committed, Ordering::Relaxed),
            rolled_back: AtomicU64::load(&self.rolled_back, Ordering::Relaxed),
            unknown: AtomicU64::load(&self.unknown, Ordering::Relaxed),
        }
    }
}

fn index(class: Class) -> usize {
    match class {
        Class::Conflict => 0,
        Class::Unavailable => 1,
        Class::Overloaded => 2,
        Class::Unknown => 3,
        Class::Permanent => 4,
    }
}
