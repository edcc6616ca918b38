//! A second tier behind a small time budget and a breaker: whatever it does, no read waits long for it.
//!
//! After three operations in a row that found nobody, reads go past it at once. The feed's task, which keeps
//! asking, closes the breaker: no caller is the guinea pig.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::second_tier::{Answer, SecondTier};
use crate::tier_error::{TierError, TierFailure};

#[derive(Debug)]
pub(crate) struct GuardedTier {
    tier: Arc<dyn SecondTier>,
    budget: Duration,
    failed_in_a_row: AtomicU32,
    is_open: AtomicBool,
    opened: AtomicU64,
}

const TOO_MANY: u32 = 3;

impl GuardedTier {
    pub(crate) fn new(tier: Arc<dyn SecondTier>, budget: Duration) -> Self {
        GuardedTier {
            tier,
            budget,
            failed_in_a_row: AtomicU32::new(0),
            is_open: AtomicBool::new(false),
            opened: AtomicU64::new(0),
        }
    }

    /// The tier itself, for the feed's task, which sets its own limits.
    pub(crate) fn tier(&self) -> &dyn SecondTier {
        &*self.tier
    }

    /// Asks it within the budget of a read.
    pub(crate) async fn ask<'a, T>(
        &'a self,
        operation: impl FnOnce(&'a dyn SecondTier) -> Answer<'a, T>,
    ) -> Result<T, TierError> {
        self.ask_within(self.budget, operation).await
    }

    /// Asks it within a budget.
    pub(crate) async fn ask_within<'a, T>(
        &'a self,
        budget: Duration,
        operation: impl FnOnce(&'a dyn SecondTier) -> Answer<'a, T>,
    ) -> Result<T, TierError> {
        if self.is_open() {
            return Err(TierError::new(TierFailure::Unreachable, "it did not answer before"));
        }
        let answer = tokio::time::timeout(budget, operation(&*self.tier)).await.unwrap_or_else(|_| {
            Err(TierError::new(TierFailure::TimedOut, format!("it took longer than {budget:?}")))
        });
        match &answer {
            Err(error) if error.failure.is_outage() => self.failed(error),
            _ => self.failed_in_a_row.store(0, Ordering::Relaxed),
        }
        answer
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// It answers again.
    pub(crate) fn close(&self) {
        self.failed_in_a_row.store(0, Ordering::Relaxed);
        if self.is_open.swap(false, Ordering::AcqRel) {
            tracing::info!("the cache's second tier answers again");
        }
    }

    fn failed(&self, error: &TierError) {
        if self.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 < TOO_MANY {
            return;
        }
        if !self.is_open.swap(true, Ordering::AcqRel) {
            self.opened.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "the cache's second tier does not answer: reads go past it until it does");
        }
    }
}
