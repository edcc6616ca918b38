//! Runs an operation again while its failure says that this may help.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use db_core::{Acquire, Class, Classify, Error, Result, Work};

use crate::attempts::Attempts;
use crate::backoff::{Backoff, Jitter};
use crate::counts::{Counter, RetryCounts};

/// How often, and how far apart.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryConfig {
    /// How many attempts there are at most, the first included.
    pub attempts: NonZeroU32,
    /// The first pause.
    pub base: Duration,
    /// The longest pause.
    pub max: Duration,
    /// How much longer each pause is than the one before.
    pub multiplier: f64,
    /// How pauses are spread.
    pub jitter: Jitter,
    /// No attempt starts later than this after the first; none means that only `attempts` counts.
    pub deadline: Option<Duration>,
    /// The longest that one attempt at a read may take once it has its connection; none means for ever.
    ///
    /// The caller's own guard against a server that has stopped: `statement_timeout` is the server's.
    pub read_timeout: Option<Duration>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig {
            attempts: NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN),
            base: Duration::from_millis(50),
            max: Duration::from_secs(2),
            multiplier: 2.0,
            jitter: Jitter::Full,
            deadline: Some(Duration::from_secs(30)),
            read_timeout: None,
        }
    }
}

impl RetryConfig {
    /// One attempt only.
    pub fn never() -> Self {
        RetryConfig { attempts: NonZeroU32::MIN, ..RetryConfig::default() }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.base, self.max, self.multiplier, self.jitter)
    }
}

/// Runs operations again while their failure says that this may help.
///
/// Cheap to clone; clones count together. The caller always gets the error of the last attempt, unchanged.
#[derive(Debug, Clone, Default)]
pub struct Retry {
    config: RetryConfig,
    counter: Arc<Counter>,
}

impl Retry {
    /// Retries as `config` says.
    pub fn new(config: RetryConfig) -> Self {
        Retry { config, counter: Arc::default() }
    }

    /// How often, and how far apart.
    pub fn config(&self) -> &RetryConfig {
        &self.config
    }

    /// What was run again so far, by the class of the failure before.
    pub fn counts(&self) -> RetryCounts {
        self.counter.read()
    }

    pub(crate) fn counter(&self) -> &Counter {
        &self.counter
    }

    /// Runs `operation` until it succeeds, its failure is not worth another attempt, or attempts or time run out.
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
        E: Classify,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut attempts = Attempts::start(self);
        let mut number = 0;
        loop {
            match operation(number).await {
                Ok(value) => return Ok(value),
                Err(error) if attempts.again(error.class()).await => number += 1,
                Err(error) => return Err(error),
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
    pub async fn read<A, T, E>(&self, from: &A, work: impl Work<T, E>) -> Result<T>
    where
        A: Acquire,
        T: Send,
        E: Into<Error> + Send,
    {
        let mut attempts = Attempts::start(self);
        loop {
            let result = match from.acquire().await {
                Ok(mut conn) => {
                    let result = self.in_time(work.clone()(&mut conn)).await;
                    if result.as_ref().is_err_and(|error| error.class() == Class::Unavailable) {
                        from.evict(&mut conn);
                    }
                    result
                }
                // Whoever waited for as long as it was willing to is not made to wait again.
                Err(error @ Error::PoolTimeout { .. }) => return Err(error),
                Err(error) => Err(error),
            };
            match result {
                Ok(value) => return Ok(value),
                Err(error) if attempts.again(error.class()).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn in_time<T, E: Into<Error>>(&self, reading: impl Future<Output = Result<T, E>>) -> Result<T> {
        match self.config.read_timeout {
            None => reading.await.map_err(Into::into),
            Some(waited) => match tokio::time::timeout(waited, reading).await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err(Error::DeadlineExceeded { waited }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn conflict() -> Error {
        Error::SerializationFailure(Box::new(db_core::ServerReport::new(
            "could not serialize",
            Some((db_core::SqlState::SERIALIZATION_FAILURE, db_core::Evidence::Server)),
        )))
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
        check(|| Error::ConnectionLost { reason: "reset".to_owned() }, 4);
        check(|| Error::DeadlineExceeded { waited: Duration::ZERO }, 4);
        check(|| Error::NotFound, 1);
        check(|| Error::CommitUnknown(Box::new(Error::ConnectionLost { reason: "reset".to_owned() })), 1);
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
        let result: Result<()> =
            retry.run(|_| async { Err(Error::ConnectionLost { reason: "reset".to_owned() }) }).await;
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
