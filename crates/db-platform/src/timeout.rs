//! A time that one call may take as a whole.

use std::pin::Pin;
use std::time::Duration;

use db_core::{AroundCommit, CommitOutcome, Error, Result};
use db_replica_routing::{Session, SessionCommit};
use diesel_async::AsyncPgConnection;
use tokio::sync::watch;

/// Waits for something, for as long as it may take; where that is dropped, the pool cancels its statement on the server.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    running: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(waited) = timeout else { return running.await };
    tokio::time::timeout(waited, running).await.unwrap_or(Err(Error::DeadlineExceeded { waited }))
}

/// As [`within`], for a transaction that says where it stands: once COMMIT is sent, what became of it is waited for.
pub(crate) async fn within_until_commit<T, E: From<Error>>(
    timeout: Option<Duration>,
    committing: &Committing,
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

/// Whether a COMMIT is under way, or about to be sent; and what tells the session what it wrote.
pub(crate) struct Committing {
    under_way: watch::Sender<bool>,
    session: Option<SessionCommit>,
}

impl Committing {
    pub(crate) fn of(session: Option<&Session>) -> Self {
        Committing { under_way: watch::Sender::new(false), session: session.map(Session::commit) }
    }

    /// Waits until none is.
    async fn not(&self) {
        // The sender lives as long as this does.
        let _ = self.under_way.subscribe().wait_for(|committing| !committing).await;
    }
}

impl AroundCommit for Committing {
    fn before<'a>(
        &'a self,
        _: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        self.under_way.send_replace(true);
        Box::pin(async { Ok(()) })
    }

    fn alongside<'a>(
        &'a self,
        conn: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        self.session.as_ref().and_then(|session| session.alongside(conn))
    }

    fn after<'a>(
        &'a self,
        conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            if let Some(session) = &self.session {
                session.after(conn, outcome).await;
            }
            self.under_way.send_replace(false);
        })
    }
}
