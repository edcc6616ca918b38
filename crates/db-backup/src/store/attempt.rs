//! Asks the store again, with growing pauses, until the deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Store;
use super::fault::{Fault, Verdict, verdict};
use crate::error::BackupError;

impl Store {
    /// Does it until it succeeds, cannot succeed, or the deadline is over.
    pub(super) async fn attempt<T, Asked>(
        &self,
        action: &'static str,
        path: &str,
        mut ask: impl FnMut() -> Asked,
    ) -> Result<T, Fault>
    where
        Asked: Future<Output = object_store::Result<T>>,
    {
        let began = Instant::now();
        let limits = self.limits;
        let longest_pause = limits.deadline / 10;
        let mut pause = limits.pause.min(longest_pause);
        loop {
            let left = limits.deadline.saturating_sub(began.elapsed());
            let error = match timeout(limits.attempt.min(left), ask()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error,
                Err(_) => super::fault::unanswered(),
            };
            let source = match verdict(error) {
                Verdict::Final(fault) => return Err(fault),
                Verdict::Denied(source) => {
                    return Err(Fault::Error(BackupError::Denied { action, path: path.to_owned(), source }));
                }
                Verdict::Full(source) => {
                    return Err(Fault::Error(BackupError::Full { path: path.to_owned(), source }));
                }
                Verdict::Retained(source) => {
                    return Err(Fault::Error(BackupError::Retained { path: path.to_owned(), source }));
                }
                Verdict::Again(source) => source,
            };
            if began.elapsed().saturating_add(pause) >= limits.deadline {
                let (path, within) = (path.to_owned(), limits.deadline);
                return Err(Fault::Error(BackupError::Store { action, path, within, source }));
            }
            tracing::debug!(store = %self, action, path, error = %source, "the store is asked again");
            sleep(jittered(pause)).await;
            pause = pause.saturating_mul(2).min(longest_pause);
        }
    }
}

/// Half to all of it, so that clients that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
