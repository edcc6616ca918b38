//! Counts retries by the class of what made them necessary.

use std::sync::atomic::{AtomicU64, Ordering};

use db_core::Class;

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

#[derive(Debug, Default)]
pub(crate) struct Counter {
    counts: [AtomicU64; Class::ALL.len()],
}

impl Counter {
    pub(crate) fn add(&self, class: Class) {
        self.counts[index(class)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> RetryCounts {
        RetryCounts { counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)) }
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
