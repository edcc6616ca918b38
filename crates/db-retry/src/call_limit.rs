//! A time that one call may take as a whole: the wait for a connection, every attempt and every pause.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use db_core::{AroundCommit, CommitOutcome, Error, Result};
use diesel_async::AsyncPgConnection;
use tokio::sync::watch;

use crate::commit_hooks::CommitHooks;
use crate::config::RetryConfig;

/// Waits for something, for as long as it may take; where that is dropped, the pool cancels its statement on
/// the server.
///
/// ```no_run
/// # async fn count(read: impl Future<Output = db_core::Result<i64>>) -> db_core::Result<i64> {
/// db_retry::within(Some(std::time::Duration::from_secs(2)), read).await
/// # }
/// ```
///
/// # Errors
/// That of `running`; [`Error::DeadlineExceeded`] where the time is over before.
///
/// # Cancel safety
/// As `running`.
pub async fn within<T>(timeout: Option<Duration>, running: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(waited) = timeout else { return running.await };
    tokio::time::timeout(waited, running).await.unwrap_or(Err(Error::DeadlineExceeded { waited }))
}

/// As [`within`], for a transaction that says where it stands: once COMMIT is sent, what became of it is
/// waited for. [`Committing`] has an example.
///
/// # Errors
/// As [`within`].
///
/// # Cancel safety
/// As `running`.
pub async fn within_until_commit<T, E: From<Error>>(
    timeout: Option<Duration>,
    committing: &Committing<'_>,
    running: impl Future<Output = Result<T, E>> + Unpin,
) -> Result<T, E> {
    let Some(waited) = timeout else { return running.await };
    let too_late = async {
        tokio::time::sleep(waited).await;
        committing.not().await;
    };
    tokio::select! {
        biased;
        () = too_late => Err(Error::DeadlineExceeded { waited }.into()),
        result = running => result,
    }
}

/// Whether a COMMIT is under way, or about to be sent; around other hooks.
///
/// ```
/// use std::pin::pin;
/// use std::time::Duration;
/// use db_core::{Acquire, Error, Work};
/// use db_retry::{Begin, CommitHooks, Committing, Retry, within_until_commit};
///
/// async fn pay(retry: &Retry, from: &impl Acquire, work: impl Work<(), Error>) -> db_core::Result<()> {
///     let committing = Committing::around(CommitHooks::default());
///     let paying = pin!(retry.transaction(from, Begin::default(), &committing, work));
///     within_until_commit(Some(Duration::from_secs(2)), &committing, paying).await
/// }
/// ```
pub struct Committing<'a> {
    under_way: watch::Sender<bool>,
    hooks: CommitHooks<'a>,
}

impl<'a> Committing<'a> {
    /// Nothing is under way yet.
    pub fn around(hooks: CommitHooks<'a>) -> Self {
        Committing { under_way: watch::Sender::new(false), hooks }
    }

    /// Waits until none is.
    async fn not(&self) {
        // The sender lives as long as this does.
        let _ = self.under_way.subscribe().wait_for(|committing| !committing).await;
    }
}

impl AroundCommit for Committing<'_> {
    fn before<'a>(
        &'a self,
        conn: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            self.hooks.before(conn).await?;
            self.under_way.send_replace(true);
            Ok(())
        })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        self.hooks.sql()
    }

    fn alongside<'a>(
        &'a self,
        conn: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        self.hooks.alongside(conn)
    }

    fn after<'a>(
        &'a self,
        conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            self.hooks.after(conn, outcome).await;
            self.under_way.send_replace(false);
        })
    }
}

impl RetryConfig {
    /// The same, for a transaction whose caller waits for at most `whole`: it goes after that time, and as
    /// much again is left for a COMMIT that is under way then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use db_retry::RetryConfig;
    ///
    /// let config = RetryConfig::transaction().for_calls_within(Duration::from_secs(2));
    /// assert_eq!(config.transaction_timeout, Some(Duration::from_secs(4)));
    /// ```
    #[must_use]
    pub fn for_calls_within(self, whole: Duration) -> Self {
        let most = whole.saturating_mul(2);
        RetryConfig {
            deadline: Some(self.deadline.map_or(most, |deadline| deadline.max(most))),
            transaction_timeout: Some(self.transaction_timeout.map_or(most, |own| own.min(most))),
            ..self
        }
    }

    /// The same, for one call on what `known` is known of: what this does not say of the server, that does.
    #[must_use]
    pub(crate) fn or_known(self, known: &RetryConfig) -> Self {
        RetryConfig {
            read_timeout: self.read_timeout.or(known.read_timeout),
            statement_timeout: self.statement_timeout.or(known.statement_timeout),
            marker_schema: self.marker_schema.or_else(|| known.marker_schema.clone()),
            ..self
        }
    }
}
