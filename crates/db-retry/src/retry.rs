//! Runs an operation again while its failure says that this may help.

use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;

use db_core::{Acquire, Class, Classify, Error, Facts, Report, Result, Site, SqlState, Work};
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::budget::{Budget, BudgetStatus};
use crate::condition::{ByClass, Condition, If};
use crate::config::RetryConfig;
use crate::counts::{CommitCounts, Counter, RetryCounts};
use crate::deadline;
use crate::ended::went_down;
use crate::marker;
use crate::read_in_path::read_in_path;
use crate::said::Said;
use crate::search_path::SearchPath;

/// Runs operations again while their failure says that this may help.
///
/// One for each target: clones, and those made from it by [`Retry::with`] and [`Retry::retry_if`], are cheap,
/// count together and share one budget. The caller always gets the error of the last attempt, unchanged.
#[derive(Debug, Clone)]
pub struct Retry<C = ByClass> {
    config: RetryConfig,
    condition: C,
    shared: Arc<Shared>,
    /// The schemas that all of it runs in, where they are not the session's.
    path: Option<SearchPath>,
}

/// What all calls to one target share.
#[derive(Debug)]
pub(crate) struct Shared {
    counter: Counter,
    budget: Option<Budget>,
    /// What retries of conflicts may cost.
    conflicts: Option<Budget>,
    /// Where marker rows are.
    markers: marker::Location,
}

impl Shared {
    fn new(config: &RetryConfig) -> Self {
        Shared {
            counter: Counter::default(),
            budget: config.budget.map(Budget::new),
            conflicts: config.budget.map(Budget::of_conflicts),
            markers: marker::Location::default(),
        }
    }

    pub(crate) fn counter(&self) -> &Counter {
        &self.counter
    }

    pub(crate) fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    pub(crate) fn markers(&self) -> &marker::Location {
        &self.markers
    }

    pub(crate) fn conflicts(&self) -> Option<&Budget> {
        self.conflicts.as_ref()
    }
}

impl Retry {
    /// Retries as `config` says.
    pub fn new(config: RetryConfig) -> Self {
        Retry { shared: Arc::new(Shared::new(&config)), config, condition: ByClass, path: None }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Retry::new(RetryConfig::default())
    }
}

impl<C> Retry<C> {
    /// The same target with another configuration, for one call or for many.
    pub fn with(&self, config: RetryConfig) -> Self
    where
        C: Clone,
    {
        let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
        Retry { config, condition: self.condition.clone(), shared, path }
    }

    /// The same target with another configuration, which says of the server only what it knows better: its
    /// timeouts and the schema of its markers stay where `said` names none.
    pub fn saying(&self, said: RetryConfig) -> Self
    where
        C: Clone,
    {
        self.with(said.or_known(&self.config))
    }

    /// The same target, where `condition` alone says which failures are worth another attempt.
    ///
    /// A read is judged by the platform's [`Error`], a transaction by the work's own. A COMMIT whose outcome
    /// is unknown, and one whose work ended its own transaction, is never run again, whatever the condition
    /// says. A condition that panics says no.
    pub fn retry_if<E, F>(&self, condition: F) -> Retry<If<F>>
    where
        F: Fn(&E) -> bool + Send + Sync,
    {
        self.judged_by(If(condition))
    }

    /// The same target, where `condition` says which failures are worth another attempt.
    pub fn judged_by<D>(&self, condition: D) -> Retry<D> {
        let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
        Retry { config: self.config.clone(), condition, shared, path }
    }

    /// The same target, where reads and transactions run in this `search_path`: it goes out with BEGIN, and
    /// ends with the transaction. A read is a transaction then, and takes one round trip more, for its
    /// COMMIT.
    ///
    /// Not in it are [`Retry::begin_at`], [`Retry::run`] and [`Retry::statement_at`], which begin no
    /// transaction.
    pub fn in_path(&self, path: SearchPath) -> Self
    where
        C: Clone,
    {
        Retry { path: Some(path), ..self.clone() }
    }

    /// The `search_path` that reads and transactions run in, where it is not the session's.
    pub fn path(&self) -> Option<&SearchPath> {
        self.path.as_ref()
    }

    /// How often, and how far apart.
    pub fn config(&self) -> &RetryConfig {
        &self.config
    }

    /// What was run again so far, by the class of the failure before.
    pub fn counts(&self) -> RetryCounts {
        self.shared.counter.retries()
    }

    /// What became so far of COMMITs that were left without an answer.
    pub fn commits(&self) -> CommitCounts {
        self.shared.counter.commits()
    }

    /// What retries may still cost, where there is a budget.
    pub fn budget(&self) -> Option<BudgetStatus> {
        self.shared.budget().map(Budget::status)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn condition(&self) -> &C {
        &self.condition
    }

    /// Runs `operation` until it succeeds, its failure is not worth another attempt, or attempts, time or the
    /// budget run out.
    ///
    /// The operation must be one that may run twice. It is given the number of the attempt, from 0.
    ///
    /// # Errors
    /// The error of the last attempt.
    ///
    /// # Cancel safety
    /// That of the operation; between attempts nothing is lost.
    pub async fn run<T, E, Fut>(&self, mut operation: impl FnMut(u32) -> Fut) -> Result<T, E>
    where
        C: Condition<E>,
        E: Classify,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut attempts = Attempts::start(self);
        let mut number = 0;
        loop {
            match deadline::scope(attempts.deadline(), operation(number)).await {
                Ok(value) => {
                    attempts.came_through();
                    return Ok(value);
                }
                Err(error) => {
                    let class = attempts.judge(error.class(), &Said::of(&error, &Facts::UNKNOWN));
                    if class == Class::Permanent {
                        attempts.answered();
                    }
                    if !attempts.again(judge(&self.condition, &error, class)).await {
                        return Err(error);
                    }
                    number += 1;
                }
            }
        }
    }

    /// Runs a read on a connection of `from`, and again on another one while that may help.
    ///
    /// # Errors
    /// The error of the last attempt.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement under way; the pool deals with the connection.
    #[track_caller]
    pub fn read<A, T, E>(&self, from: &A, work: impl Work<T, E>) -> impl Future<Output = Result<T>>
    where
        C: Condition<Error>,
        A: Acquire,
        T: Send,
        E: Into<Error> + Send,
    {
        self.read_at(Location::caller(), from, work)
    }

    /// As [`Retry::read`], on behalf of the code at `site`, which reports about the connection then name.
    ///
    /// # Errors
    /// As [`Retry::read`].
    ///
    /// # Cancel safety
    /// As [`Retry::read`].
    pub async fn read_at<A, T, E>(&self, site: Site, from: &A, work: impl Work<T, E>) -> Result<T>
    where
        C: Condition<Error>,
        A: Acquire,
        T: Send,
        E: Into<Error> + Send,
    {
        Ok(self.first_of(site, from, work, self.path()).await?.0)
    }

    /// As [`Retry::read_at`], for work that goes on with the connection: it is returned with the work's
    /// value.
    ///
    /// # Errors
    /// As [`Retry::read`].
    ///
    /// # Cancel safety
    /// As [`Retry::read`].
    pub async fn begin_at<A, T, E>(&self, site: Site, from: &A, work: impl Work<T, E>) -> Result<(T, A::Conn)>
    where
        C: Condition<Error>,
        A: Acquire,
        T: Send,
        E: Into<Error> + Send,
    {
        self.first_of(site, from, work, None).await
    }

    /// The first attempt that succeeds.
    async fn first_of<A, T, E>(
        &self,
        site: Site,
        from: &A,
        work: impl Work<T, E>,
        path: Option<&SearchPath>,
    ) -> Result<(T, A::Conn)>
    where
        C: Condition<Error>,
        A: Acquire,
        T: Send,
        E: Into<Error> + Send,
    {
        let mut attempts = Attempts::start(self);
        loop {
            let (error, class) = match attempts.acquire(from, site).await {
                Ok(mut conn) => match self.read_on(&attempts, from, &mut conn, work.clone(), path).await {
                    Ok(value) => {
                        attempts.came_through();
                        return Ok((value, conn));
                    }
                    Err(error) => {
                        let said = Said::of(&error, &from.facts(&conn));
                        // Given back before another one is asked for: the pool may have room for one only.
                        drop(conn);
                        if attempts.again_as_new(&said) {
                            continue;
                        }
                        let class = attempts.judge(error.class(), &said);
                        if class == Class::Permanent {
                            attempts.answered();
                        }
                        (error, class)
                    }
                },
                Err(error) => {
                    let class = class_of_acquire(&error);
                    (error, class)
                }
            };
            if !attempts.again(judge(&self.condition, &error, class)).await {
                return Err(error);
            }
        }
    }

    async fn read_on<A, T, E>(
        &self,
        attempts: &Attempts<'_>,
        from: &A,
        conn: &mut A::Conn,
        work: impl Work<T, E>,
        path: Option<&SearchPath>,
    ) -> Result<T>
    where
        A: Acquire,
        T: Send,
        E: Into<Error> + Send,
    {
        let started = Instant::now();
        let limit = deadline::after(started, self.config.read_timeout);
        let inside = deadline::earlier(limit, attempts.deadline());
        let gone = from.server_down(conn);
        let read = {
            // Pinned here: the future of a query is large, and each layer around it would move it once more.
            let reading = pin!(async {
                match path {
                    None => work(conn).await.map_err(Into::into),
                    Some(path) => read_in_path(from, conn, path, work).await,
                }
            });
            deadline::until(limit, deadline::unless(deadline::scope(inside, reading), gone)).await
        };
        let read = read.map(|answer| match answer {
            Some(result) => {
                result.map_err(|error: Error| error.in_read().with_last_words(from.facts(conn).last_words))
            }
            None => Err(went_down()),
        });
        match read {
            Some(result) => result.inspect_err(|error: &Error| match error.class() {
                // A session that replay ended between two statements: the server is well.
                Class::Unavailable
                    if from.facts(conn).failed_with == Some(SqlState::SERIALIZATION_FAILURE) =>
                {
                    from.report(conn, Report::Conflict);
                }
                Class::Unavailable => from.report(conn, Report::ServerGone),
                Class::Conflict => from.report(conn, Report::Conflict),
                _ => {}
            }),
            // The server should have ended the statement by itself: it has stopped, or nobody hears it.
            None => {
                from.report(conn, Report::ServerGone);
                Err(Error::DeadlineExceeded { waited: started.elapsed() })
            }
        }
    }
}

/// What a failure to get a connection means for the next attempt.
pub(crate) fn class_of_acquire(error: &Error) -> Class {
    // A caller that has waited for as long as it was willing to is not made to wait again.
    if error.ends_the_wait() { Class::Permanent } else { error.class() }
}

/// Asks the condition, except where it is not to be asked.
pub(crate) fn judge<E>(condition: &impl Condition<E>, error: &E, class: Class) -> Class {
    if class == Class::Unknown { class } else { condition.judge(error, class) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Jitter;
    use std::cell::Cell;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn conflict() -> Error {
        Error::SerializationFailure(Box::new(db_core::ServerReport::new(
            "could not serialize",
            Some((db_core::SqlState::SERIALIZATION_FAILURE, db_core::Evidence::Server)),
        )))
    }

    fn lost() -> Error {
        Error::ConnectionLost { reason: "reset".to_owned() }
    }

    #[track_caller]
    fn check(error: fn() -> Error, attempts_made: u32) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (retry, made) = (Retry::default(), Cell::new(0));
        let result: Result<()> = runtime.block_on(retry.run(|_| {
            made.set(made.get() + 1);
            async { Err(error()) }
        }));
        assert_eq!(result.unwrap_err().class(), error().class(), "the caller gets the error as it was");
        assert_eq!(made.get(), attempts_made, "{}", error());
        assert_eq!(retry.counts().total(), u64::from(attempts_made - 1));
    }

    #[test]
    fn only_what_may_help_is_run_again() {
        check(conflict, 4);
        check(lost, 4);
        check(|| Error::DeadlineExceeded { waited: Duration::ZERO }, 4);
        check(|| Error::NotFound, 1);
        check(
            || Error::CommitUnknown(Box::new(db_core::UnknownCommit::new(lost(), None, "nobody knows"))),
            1,
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_starts_after_the_deadline() {
        let deadline = Duration::from_millis(120);
        let retry = Retry::new(RetryConfig {
            attempts: NonZeroU32::new(100).unwrap(),
            jitter: Jitter::None,
            deadline: Some(deadline),
            ..RetryConfig::default()
        });
        let started = tokio::time::Instant::now();
        let result: Result<()> = retry.run(|_| async { Err(lost()) }).await;
        assert!(result.is_err());
        assert!(started.elapsed() < deadline);
        assert_eq!(retry.counts().total(), 1, "a pause of 50 ms fits, one of 100 ms more does not");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_retry_of_a_conflict_is_immediate() {
        let started = tokio::time::Instant::now();
        let retry = Retry::default();
        let result: Result<u32> =
            retry.run(|number| async move { if number == 0 { Err(conflict()) } else { Ok(number) } }).await;
        assert_eq!(result.unwrap(), 1);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
