//! How many statements ran, failed, were cancelled and were slow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use db_core::{Measure, MeasureKind, QueryEvent, SqlState};

/// How many statements ended in which way since the start.
///
/// ```
/// use db_monitoring::{Monitor, MonitoringConfig};
///
/// let counts = Monitor::new(MonitoringConfig::default()).counts();
/// assert_eq!((counts.slow, counts.errors()), (0, 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Statements that were slow.
    pub slow: u64,
    /// Statements that were cancelled: by request, by `statement_timeout`, or because their caller went away.
    pub cancelled: u64,
    /// Statements that failed, by the server's code; none where the connection was lost before it gave one.
    /// Cancelled ones are among them.
    pub failed: BTreeMap<Option<SqlState>, u64>,
}

impl Counts {
    /// Statements that failed, for whatever reason.
    pub fn errors(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Counts what is seldom.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    slow: AtomicU64,
    cancelled: AtomicU64,
    failed: Mutex<BTreeMap<Option<SqlState>, u64>>,
}

impl Tally {
    pub(crate) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, event: &QueryEvent<'_>) {
        self.cancelled.fetch_add(u64::from(event.cancelled), Ordering::Relaxed);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(event.sqlstate).or_insert(0) += 1;
    }

    pub(crate) fn read(&self) -> Counts {
        Counts {
            slow: self.slow.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            failed: self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The same as figures that every exporter understands.
    pub(crate) fn measures(&self) -> Vec<Measure> {
        let counts = self.read();
        let count = |name, value: u64| Measure::new(name, MeasureKind::Counter, "{query}", value as f64);
        let code = |code: Option<SqlState>| code.map_or("none".to_owned(), |code| code.to_string());
        // The name is there from the start.
        let without_code = (None, counts.failed.get(&None).copied().unwrap_or(0));
        let failed = counts.failed.into_iter().filter(|(code, _)| code.is_some()).chain([without_code]);
        failed
            .map(|(key, value)| {
                count("db.monitoring.errors", value).with("db.response.status_code", code(key))
            })
            .chain([
                count("db.monitoring.slow_queries", counts.slow),
                count("db.monitoring.cancellations", counts.cancelled),
            ])
            .collect()
    }
}
