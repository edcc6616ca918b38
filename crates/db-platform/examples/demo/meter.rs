//! Counts operations and their latencies, from many tasks at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// What a task has just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Transaction,
}

/// Operations and latencies since the start.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) reads: Histogram<u64>,
    pub(crate) transactions: Histogram<u64>,
    /// What all reads took together: a hit is shorter than what the histograms tell apart.
    pub(crate) read_time: Duration,
    /// Errors that reached a caller, by their text.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Seen {
            reads: microseconds(),
            transactions: microseconds(),
            read_time: Duration::ZERO,
            errors: BTreeMap::new(),
        }
    }
}

impl Seen {
    pub(crate) fn all(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        // Both have the same bounds, so nothing is refused.
        let _ = all.add(&self.transactions);
        all
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Three significant digits; grows as far as it must.
#[expect(clippy::expect_used, reason = "three digits are within the library's bounds")]
fn microseconds() -> Histogram<u64> {
    Histogram::new(3).expect("three significant digits are allowed")
}

impl Meter {
    pub(crate) fn record<T, E: Display>(
        &self,
        operation: Operation,
        elapsed: Duration,
        result: Result<T, E>,
    ) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => {
                let histogram = match operation {
                    Operation::Read => {
                        seen.read_time += elapsed;
                        &mut seen.reads
                    }
                    Operation::Transaction => &mut seen.transactions,
                };
                // The histogram grows with what it is given; only a value beyond its type would be refused.
                let _ = histogram.record(micros);
            }
            Err(error) => {
                drop(seen);
                self.count_error(format!("{operation:?}: {error}"));
            }
        }
    }

    pub(crate) fn count_error(&self, text: String) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner).errors.entry(text).or_default() += 1;
    }

    pub(crate) fn read(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
