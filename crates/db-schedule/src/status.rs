//! How a job is: what a metrics page, a health check and an operator ask for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::Outcome;

/// How a job is now.
///
/// The counts only grow while the process lives; everything else is as of now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JobStatus {
    /// The job's name.
    pub name: String,
    /// The next due time, before jitter; none where the job runs or never runs again.
    pub next: Option<DateTime<Utc>>,
    /// Since when it runs.
    pub running_since: Option<DateTime<Utc>>,
    /// Why it waits for another host.
    pub waiting: Option<String>,
    /// The last run that has ended: when, how long it took, how it ended.
    pub last: Option<(DateTime<Utc>, Duration, Outcome)>,
    /// When it last succeeded: here, on another host that attended to a due time, or as its records say.
    pub last_success: Option<DateTime<Utc>>,
    /// Whether there was no success for longer than expected.
    pub is_overdue: bool,
    /// Runs that succeeded.
    pub successes: u64,
    /// Runs that ended in any other way.
    pub failures: u64,
    /// Due times that another host attended to.
    pub skipped: u64,
    /// Due times that passed without a run of their own.
    pub missed: u64,
}

/// A status that the job's task writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<JobStatus>);

impl Board {
    pub(crate) fn new(name: &str, last_success: Option<DateTime<Utc>>) -> Self {
        Board(Mutex::new(JobStatus { name: name.to_owned(), last_success, ..JobStatus::default() }))
    }

    pub(crate) fn look(&self) -> JobStatus {
        self.lock().clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, JobStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
