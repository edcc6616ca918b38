//! A time that one call may take as a whole.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use db_core::{AroundCommit, CommitOutcome, Error, Result};
use db_retry::CommitHooks;
use diesel_async::AsyncPgConnection;
use tokio::sync::watch;

/// Waits for something, for as long as it may take; where that is dropped, the pool cancels its statement on
/// the server.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    running: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(waited) = timeout else { return running.await };
    tokio::time::timeout(waited, running).await.unwrap_or(Err(Error::DeadlineExceeded { waited }))
}

/// As [`within`], for a transaction that says where it stands: once COMMIT is sent, what became of it is
/// waited for.
pub(crate) async fn within_until_commit<T, E: From<Error>>(
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

/// Whether a COMMIT is under way, or about to be sent; around the hooks of the session and of the parts.
pub(crate) struct Committing<'a> {
    under_way: watch::Sender<bool>,
    hooks: CommitHooks<'a>,
}

impl<'a> Committing<'a> {
    pub(crate) fn around(hooks: CommitHooks<'a>) -> Self {
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
