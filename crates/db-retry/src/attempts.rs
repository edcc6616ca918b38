//! Decides after each failure whether there is another attempt, and waits for it.

use std::pin::pin;
use std::time::Duration;

use db_core::{Acquire, Class, Error, Result, Site};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::config::RetryConfig;
use crate::deadline;
use crate::retry::{Retry, Shared};

/// The attempts of one call.
pub(crate) struct Attempts<'a> {
    config: &'a RetryConfig,
    shared: &'a Shared,
    backoff: Backoff,
    started: Instant,
    deadline: Option<Instant>,
    /// When the attempt under way began.
    attempt_started: Instant,
    /// How long the quickest attempt took: another one will hardly take less.
    quickest: Duration,
    made: u32,
    conflicts: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) fn start<C>(retry: &'a Retry<C>) -> Self {
        let (config, started) = (retry.config(), Instant::now());
        let own = config.deadline.map(|deadline| started + deadline);
        Attempts {
            config,
            shared: retry.shared(),
            backoff: config.backoff(),
            started,
            deadline: deadline::earlier(own, deadline::current()),
            attempt_started: started,
            quickest: Duration::MAX,
            made: 0,
            conflicts: 0,
        }
    }

    /// By when everything must have been tried.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Waits for a connection, until the deadline at the latest.
    pub(crate) async fn acquire<A: Acquire>(&self, from: &A, site: Site) -> Result<A::Conn> {
        let acquiring = pin!(from.acquire_at(site));
        let acquired = deadline::until(self.deadline, deadline::scope(self.deadline, acquiring)).await;
        acquired.unwrap_or_else(|| Err(Error::DeadlineExceeded { waited: self.started.elapsed() }))
    }

    /// Notes that the server has answered the call, well or not, which pays for retries.
    pub(crate) fn answered(&self) {
        if let Some(budget) = self.shared.budget() {
            budget.pay_in();
        }
    }

    /// Waits for the next attempt after a failure of `class`; false where there is none.
    ///
    /// # Cancel safety
    /// Dropping the future ends the call without another attempt.
    pub(crate) async fn again(&mut self, class: Class) -> bool {
        let Some(pause) = self.next_pause(class) else { return false };
        tracing::debug!(%class, attempt = self.made, ?pause, "trying again");
        self.shared.counter().add(class);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.attempt_started = Instant::now();
        true
    }

    fn next_pause(&mut self, class: Class) -> Option<Duration> {
        self.made += 1;
        self.quickest = self.quickest.min(self.attempt_started.elapsed());
        let worth_it = matches!(class, Class::Conflict | Class::Unavailable | Class::Overloaded);
        if !worth_it || self.made >= self.config.attempts.get() {
            return None;
        }
        self.conflicts += u32::from(class == Class::Conflict);
        // Whoever was in the way has just finished: the first retry of a conflict need not wait.
        let pause = match (class, self.conflicts) {
            (Class::Conflict, 1) => Duration::ZERO,
            _ => self.backoff.next_pause(&mut rand::rng()),
        };
        let in_time = |deadline| Instant::now() + pause + self.quickest < deadline;
        (self.deadline.is_none_or(in_time) && self.affords(class)).then_some(pause)
    }

    fn affords(&self, class: Class) -> bool {
        // Another transaction came through, so the server is well, and one of those that conflict always does.
        let free = class == Class::Conflict || self.config.budget.is_none();
        free || self.shared.budget().is_none_or(|budget| budget.take())
    }
}
