//! Decides after each failure whether there is another attempt, and waits for it.

use std::time::Duration;

use db_core::Class;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::retry::Retry;

/// The attempts of one call.
pub(crate) struct Attempts<'a> {
    retry: &'a Retry,
    backoff: Backoff,
    started: Instant,
    made: u32,
    conflicts: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) fn start(retry: &'a Retry) -> Self {
        Attempts { retry, backoff: retry.config().backoff(), started: Instant::now(), made: 0, conflicts: 0 }
    }

    /// Waits for the next attempt after a failure of `class`; false where there is none.
    ///
    /// # Cancel safety
    /// Dropping the future ends the call without another attempt.
    pub(crate) async fn again(&mut self, class: Class) -> bool {
        let Some(pause) = self.next_pause(class) else { return false };
        tracing::debug!(%class, attempt = self.made, ?pause, "trying again");
        self.retry.counter().add(class);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        true
    }

    fn next_pause(&mut self, class: Class) -> Option<Duration> {
        self.made += 1;
        let config = self.retry.config();
        let worth_it = matches!(class, Class::Conflict | Class::Unavailable | Class::Overloaded);
        if !worth_it || self.made >= config.attempts.get() {
            return None;
        }
        self.conflicts += u32::from(class == Class::Conflict);
        // Whoever was in the way has just finished: the first retry of a conflict need not wait.
        let pause = match (class, self.conflicts) {
            (Class::Conflict, 1) => Duration::ZERO,
            _ => self.backoff.next_pause(&mut rand::rng()),
        };
        let in_time = config.deadline.is_none_or(|deadline| self.started.elapsed() + pause < deadline);
        in_time.then_some(pause)
    }
}
