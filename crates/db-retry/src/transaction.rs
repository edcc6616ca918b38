//! Runs work in a transaction, and the whole transaction again where that may help.
//!
//! A failure of BEGIN or of the work left nothing behind, so its class decides. A failure of COMMIT is different: when
//! the connection was lost after COMMIT was sent, the server may have applied it, and a retry could apply it twice.

use db_core::{Acquire, AroundCommit, Class, Classify, CommitOutcome, Error, Once, Result, Work};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};

use crate::attempts::Attempts;
use crate::begin::Begin;
use crate::retry::Retry;

/// How far one attempt came.
enum Failed<E> {
    /// Before the work ran: no connection, or no BEGIN.
    Before(Error),
    /// The work failed, and was rolled back.
    Work(E),
    /// COMMIT was refused, or its outcome is unknown.
    Commit(Error),
}

impl<E: Classify> Failed<E> {
    fn class(&self) -> Class {
        match self {
            // Whoever waited for as long as it was willing to is not made to wait again.
            Failed::Before(Error::PoolTimeout { .. }) => Class::Permanent,
            Failed::Before(error) => error.class(),
            Failed::Work(error) => not_if_slow(error.class()),
            Failed::Commit(error) => not_if_slow(error.class()),
        }
    }
}

/// A write that was too slow once is too slow again.
fn not_if_slow(class: Class) -> Class {
    if class == Class::Overloaded { Class::Permanent } else { class }
}

impl<E: From<Error>> Failed<E> {
    fn into_error(self) -> E {
        match self {
            Failed::Before(error) | Failed::Commit(error) => error.into(),
            Failed::Work(error) => error,
        }
    }
}

impl Retry {
    /// Runs `work` in a transaction on a connection of `from`; the whole transaction runs again after a conflict, and
    /// after a lost connection as long as COMMIT was not sent.
    ///
    /// # Errors
    /// The work's own error, as it was; [`Error::CommitUnknown`] where COMMIT was sent and its answer was lost;
    /// SQLSTATE 25P02 where the work swallowed an error of the server's and the transaction could not commit.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the transaction; the server rolls it back, unless COMMIT was already sent.
    pub async fn transaction<A, T, E>(
        &self,
        from: &A,
        begin: Begin,
        around: &dyn AroundCommit,
        work: impl Work<T, E>,
    ) -> Result<T, E>
    where
        A: Acquire,
        T: Send,
        E: From<Error> + Classify + Send,
    {
        let mut attempts = Attempts::start(self);
        loop {
            match attempt(from, begin, around, work.clone()).await {
                Ok(value) => return Ok(value),
                Err(failed) if attempts.again(failed.class()).await => {}
                Err(failed) => return Err(failed.into_error()),
            }
        }
    }

    /// Runs `work` in a transaction, once, whatever happens.
    ///
    /// # Errors
    /// As [`Retry::transaction`].
    ///
    /// # Cancel safety
    /// As [`Retry::transaction`].
    pub async fn transaction_once<A, T, E>(
        &self,
        from: &A,
        begin: Begin,
        around: &dyn AroundCommit,
        work: impl Once<T, E>,
    ) -> Result<T, E>
    where
        A: Acquire,
        T: Send,
        E: From<Error> + Classify + Send,
    {
        attempt(from, begin, around, work).await.map_err(Failed::into_error)
    }
}

async fn attempt<A, T, E>(
    from: &A,
    begin: Begin,
    around: &dyn AroundCommit,
    work: impl Once<T, E>,
) -> Result<T, Failed<E>>
where
    A: Acquire,
    T: Send,
    E: From<Error> + Classify + Send,
{
    let mut conn = from.acquire().await.map_err(Failed::Before)?;
    let result = on_connection(&mut conn, begin, around, work).await;
    if result.as_ref().is_err_and(|failed| matches!(failed.class(), Class::Unavailable | Class::Unknown)) {
        from.evict(&mut conn);
    }
    result
}

async fn on_connection<T, E>(
    conn: &mut AsyncPgConnection,
    begin: Begin,
    around: &dyn AroundCommit,
    work: impl Once<T, E>,
) -> Result<T, Failed<E>>
where
    T: Send,
    E: From<Error> + Classify + Send,
{
    AnsiTransactionManager::begin_transaction_sql(conn, &begin.sql())
        .await
        .map_err(|error| Failed::Before(error.into()))?;
    let value = match work(conn).await {
        Ok(value) => value,
        Err(error) => {
            roll_back(conn).await;
            around.after(conn, CommitOutcome::RolledBack).await;
            return Err(Failed::Work(error));
        }
    };
    if let Err(error) = around.before(conn).await {
        roll_back(conn).await;
        around.after(conn, CommitOutcome::RolledBack).await;
        return Err(Failed::Commit(error));
    }
    let committed = commit(conn).await;
    let outcome = match &committed {
        Ok(()) => CommitOutcome::Committed,
        Err(Error::CommitUnknown(_)) => CommitOutcome::Unknown,
        Err(_) => CommitOutcome::RolledBack,
    };
    around.after(conn, outcome).await;
    committed.map(|()| value).map_err(Failed::Commit)
}

/// Commits, and notices a transaction that cannot: COMMIT of a failed transaction rolls back and reports success, so a
/// statement goes before it, in the same message, that fails in a failed transaction.
async fn commit(conn: &mut AsyncPgConnection) -> Result<()> {
    match conn.batch_execute("SELECT 1; COMMIT").await {
        Ok(()) => {
            outside_transaction(conn);
            Ok(())
        }
        Err(error) => match Error::from(error) {
            // A connection that is gone now went while COMMIT was on its way, whatever the last words were: lost, 57P01.
            error if roll_back(conn).await => Err(error),
            error => Err(Error::CommitUnknown(Box::new(error))),
        },
    }
}

/// Rolls back, and says whether it went through. Where it did not, the connection is left marked as broken, and its pool
/// closes it.
async fn roll_back(conn: &mut AsyncPgConnection) -> bool {
    match conn.batch_execute("ROLLBACK").await {
        Ok(()) => {
            outside_transaction(conn);
            true
        }
        Err(error) => {
            tracing::debug!(%error, "rollback did not go through, the connection will be closed");
            false
        }
    }
}

/// Tells diesel that the transaction is over, which it cannot see of statements that it did not make itself.
fn outside_transaction(conn: &mut AsyncPgConnection) {
    *AnsiTransactionManager::transaction_manager_status_mut(conn) = Default::default();
}
