//! What a [`Db`] has run again, given up and found out so far.

use db_retry::{BreakerStatus, BudgetStatus, CommitCounts, RetryCounts};

use super::Db;

impl Db {
    /// What was run again so far, by the class of the failure before.
    pub fn retries(&self) -> RetryCounts {
        self.retry.counts()
    }

    /// What became so far of COMMITs whose answer was lost.
    pub fn lost_commits(&self) -> CommitCounts {
        self.retry.commits()
    }

    /// What the circuit breakers do, that of writes and that of reads; nothing where there are none
    /// ([`Config::breaker`](crate::Config::breaker)).
    pub fn breakers(&self) -> Vec<BreakerStatus> {
        self.breakers.iter().flat_map(|breakers| breakers.status()).collect()
    }

    /// What retries may still cost, and how many were refused, where there is a budget.
    pub fn retry_budget(&self) -> Option<BudgetStatus> {
        self.retry.budget()
    }
}
