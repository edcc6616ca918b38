//! Decides after each failure whether there is another attempt, and waits for it.

use std::pin::pin;
use std::time::Duration;

use db_core::{Acquire, Class, Error, Result, Site};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::budget::Budget;
use crate::config::RetryConfig;
use crate::deadline;
use crate::retry::{Retry, Shared};
use crate::said::{Before, Said};

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
    /// Attempts that failed because of what the client keeps of the database.
    stale: u32,
    before: Before,
}

/// How often a call is run again because what its connection kept of the database was stale: once for the
/// connection, and once more where another change came in between.
const STALE: u32 = 2;

impl<'a> Attempts<'a> {
    pub(crate) fn start<C>(retry: &'a Retry<C>) -> Self {
        let (config, started) = (retry.config(), Instant::now());
        let own = deadline::after(started, config.deadline);
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
            stale: 0,
            before: Before::default(),
        }
    }

    /// By when everything must have been tried.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Waits for a connection, until the deadline at the latest.
    pub(crate) async fn acquire<A: Acquire>(&self, from: &A, site: Site) -> Result<A::Conn> {
        if let Some(conn) = from.acquire_now(site) {
            return Ok(conn);
        }
        // Boxed: few wait, and every call would carry the room for it.
        Box::pin(async {
            let acquiring = pin!(from.acquire_at(site));
            let acquired = deadline::until(self.deadline, deadline::scope(self.deadline, acquiring)).await;
            acquired.unwrap_or_else(|| Err(Error::DeadlineExceeded { waited: self.started.elapsed() }))
        })
        .await
    }

    /// Notes that the server has answered the call, well or not, which pays for retries.
    pub(crate) fn answered(&self) {
        if let Some(budget) = self.shared.budget() {
            budget.pay_in();
        }
    }

    /// Notes that the call has come through, which pays for retries of conflicts, too.
    pub(crate) fn came_through(&self) {
        self.answered();
        if let Some(conflicts) = self.shared.conflicts() {
            conflicts.pay_in();
        }
    }

    /// What a failure of `class` means for the next attempt, by what the server said of it.
    pub(crate) fn judge(&mut self, class: Class, said: &Said) -> Class {
        self.before.judge(class, said, self.attempt_started.elapsed(), self.config)
    }

    /// Whether a failure is none of a new connection's: nothing was done, and the same work succeeds on one.
    /// So it runs again at once, however many attempts there are.
    pub(crate) fn again_as_new(&mut self, said: &Said) -> bool {
        let again = said.stale && self.stale < STALE && self.deadline.is_none_or(|by| Instant::now() < by);
        self.stale += u32::from(again);
        if again {
            self.attempt_started = Instant::now();
        }
        again
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
        let over = Instant::now().checked_add(pause).and_then(|begin| begin.checked_add(self.quickest));
        let in_time = |deadline| over.is_some_and(|over| over < deadline);
        (self.deadline.is_none_or(in_time) && self.affords(class)).then_some(pause)
    }

    fn affords(&self, class: Class) -> bool {
        let budget = match class {
            // Another transaction came through, so the server is well: what those that came through have paid
            // for.
            Class::Conflict => self.shared.conflicts(),
            _ => self.shared.budget(),
        };
        self.config.budget.is_none() || budget.is_none_or(Budget::take)
    }
}
