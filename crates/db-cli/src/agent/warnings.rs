//! What runs that succeeded have found all the same, until people are told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What runs that succeeded have found all the same, by job, until it is told.
#[derive(Default)]
pub(super) struct Warnings(Mutex<BTreeMap<String, Vec<String>>>);

impl Warnings {
    /// Notes what the job's run has found.
    pub(super) fn note(&self, job: &str, found: &[String]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(job.to_owned(), found.to_vec());
    }

    /// What a run of the job has found and nobody was told.
    pub(super) fn take(&self, job: &str) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(job).unwrap_or_default()
    }
}
