//! A read that differs from the default: how stale it may be, and how often and when it is tried again.

use std::panic::Location;
use std::pin::pin;

use db_core::{Error, Result, Work};
use db_replica_routing::Freshness;
use db_retry::{ByClass, Condition, If, RetryConfig, within};
use futures_util::future::BoxFuture;

use crate::db::Db;

/// A read that is about to run; made by [`Db::build_read`].
///
/// ```no_run
/// # use db_platform::{Db, Error, Freshness, Result};
/// # use diesel_async::SimpleAsyncConnection;
/// # async fn refresh(db: Db) -> Result<()> {
/// // The report's function raises this one while its data are being loaded.
/// db.build_read()
///     .within(Freshness::Primary)
///     .retry_if(|error: &Error| error.sqlstate().is_some_and(|code| code.as_str() == "P0001"))
///     .run(async |conn| conn.batch_execute("SELECT report()").await)
///     .await
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing runs until run"]
pub struct ReadBuilder<'a, C = ByClass> {
    db: &'a Db,
    condition: C,
    freshness: Freshness,
    retry: Option<RetryConfig>,
}

impl<'a> ReadBuilder<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        ReadBuilder { db, condition: ByClass, freshness: Freshness::Default, retry: None }
    }
}

impl<'a, C> ReadBuilder<'a, C> {
    /// No staler than that.
    pub fn within(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Try again as `config` says, in place of what the [`Config`](crate::Config) says. The budget stays the
    /// common one.
    pub fn retry(mut self, config: RetryConfig) -> Self {
        self.retry = Some(config);
        self
    }

    /// Try again where `condition` says so of the error, in place of what its class says.
    ///
    /// It should answer at once: it runs in the caller's task. One that panics is logged and says no.
    pub fn retry_if<F>(self, condition: F) -> ReadBuilder<'a, If<F>>
    where
        F: Fn(&Error) -> bool + Send + Sync,
    {
        let ReadBuilder { db, condition: _, freshness, retry } = self;
        ReadBuilder { db, condition: If(condition), freshness, retry }
    }

    /// Runs the read.
    ///
    /// # Errors
    /// As [`Db::read`].
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn run<T, E>(self, work: impl Work<T, E> + 'a) -> BoxFuture<'a, Result<T>>
    where
        C: Condition<Error> + 'a,
        T: Send + 'a,
        E: Into<Error> + Send + 'a,
    {
        let site = Location::caller();
        let ReadBuilder { db, condition, freshness, retry } = self;
        Box::pin(async move {
            let common = db.retry();
            let retries = match retry {
                None => common.judged_by(condition),
                Some(said) => common.saying(said).judged_by(condition),
            };
            let reader = db.reader(freshness);
            let reading = pin!(retries.read_at(site, &reader, work));
            within(db.timeout(), reading).await
        })
    }
}
