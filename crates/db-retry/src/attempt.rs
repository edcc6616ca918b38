//! One attempt at a transaction: BEGIN, the work, COMMIT, on one connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use db_core::{Acquire, AroundCommit, Class, Classify, CommitOutcome, Error, Once, SqlState};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::begin::Begin;
use crate::deadline;
use crate::marker;
use crate::receipt::{self, Receipt, outside_transaction};

/// How much longer than the attempt's limit a ROLLBACK may take, and how much later than the answer to COMMIT that of a statement
/// behind it may come.
const GRACE: Duration = Duration::from_millis(500);

/// How an attempt is to be made.
pub(crate) struct Plan<'a> {
    pub(crate) begin: Begin,
    pub(crate) around: &'a dyn AroundCommit,
    pub(crate) started: Instant,
    /// When it must have ended.
    pub(crate) limit: Option<Instant>,
}

impl Plan<'_> {
    fn too_late(&self) -> Error {
        Error::DeadlineExceeded { waited: self.started.elapsed() }
    }
}

/// How an attempt ended.
pub(crate) enum Ended<T, E> {
    Committed(T),
    /// Nothing is left of it.
    Failed(Failed<E>),
    /// COMMIT was sent and its answer was lost.
    Lost(T, Lost),
}

/// A failure, and what it means for whoever tries again.
pub(crate) struct Failed<E> {
    pub(crate) error: E,
    pub(crate) class: Class,
    /// Whether the server at the other end went away.
    pub(crate) gone: bool,
    /// Whether it was there, and another attempt would meet with the same.
    pub(crate) answered: bool,
}

/// A COMMIT whose answer was lost, and what there is to find out its outcome with.
pub(crate) struct Lost {
    pub(crate) cause: Error,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) marker: Option<Uuid>,
}

/// Runs `work` in a transaction.
pub(crate) async fn run<A, T, E>(
    from: &A,
    conn: &mut A::Conn,
    plan: &Plan<'_>,
    work: impl Once<T, E>,
) -> Ended<T, E>
where
    A: Acquire,
    T: Send,
    E: From<Error> + Classify + Send,
{
    let mut gone = pin!(from.server_down(conn));
    let began = deadline::unless(receipt::begin(conn, plan.begin), gone.as_mut());
    let receipt = match deadline::until(plan.limit, began).await {
        Some(None) => return abandoned(plan).await,
        Some(Some(Ok(receipt))) => receipt,
        Some(Some(Err(error))) => {
            let class = error.class();
            let alive = roll_back(conn, plan).await;
            return Ended::Failed(Failed {
                error: error.into(),
                class,
                gone: !alive || class == Class::Unavailable,
                answered: false,
            });
        }
        // BEGIN has nothing to wait for: whoever does not answer it is gone, and nothing has happened.
        None => {
            return Ended::Failed(Failed {
                error: plan.too_late().into(),
                class: Class::Overloaded,
                gone: true,
                answered: false,
            });
        }
    };
    let value = match deadline::until(plan.limit, deadline::unless(work(conn), gone.as_mut())).await {
        Some(None) => return abandoned(plan).await,
        Some(Some(Ok(value))) => value,
        Some(Some(Err(error))) => {
            let class = error.class();
            return refused(from, conn, plan, error, class).await;
        }
        None => return too_slow(plan).await,
    };
    match deadline::until(plan.limit, deadline::unless(plan.around.before(conn), gone.as_mut())).await {
        Some(None) => return abandoned(plan).await,
        Some(Some(Ok(()))) => {}
        Some(Some(Err(error))) => {
            let class = error.class();
            return refused(from, conn, plan, error.into(), class).await;
        }
        None => return too_slow(plan).await,
    }
    let marker = plan.begin.is_marked().then(marker::new_id);
    let cause = match commit(conn, plan, marker, gone).await {
        // The server may have it and may yet act on it.
        None => went_down(),
        Some(Some(Ok(()))) => {
            outside_transaction(conn);
            plan.around.after(Some(conn), CommitOutcome::Committed).await;
            return Ended::Committed(value);
        }
        Some(Some(Err(error))) => {
            let error = Error::from(error);
            let said = from.facts(conn).failed_with;
            // A connection that is gone now went while COMMIT was on its way, whatever the last words were: lost, 57P01.
            if roll_back(conn, plan).await {
                plan.around.after(Some(conn), CommitOutcome::RolledBack).await;
                let class = overruled(error.class(), said);
                return Ended::Failed(Failed {
                    error: error.into(),
                    class,
                    gone: class == Class::Unavailable,
                    answered: class == Class::Permanent,
                });
            }
            error
        }
        Some(None) => plan.too_late(),
    };
    Ended::Lost(value, Lost { cause, receipt, marker })
}

/// Commits, and lets the caller's own statement go out behind: none where the server was seen to be gone, and inside that none
/// where no answer came in time.
///
/// COMMIT of a failed transaction rolls back and reports success, so a statement goes before it, in the same message,
/// that fails in a failed transaction: the marker's, or one that does nothing.
async fn commit(
    conn: &AsyncPgConnection,
    plan: &Plan<'_>,
    marker: Option<Uuid>,
    mut gone: Pin<&mut impl Future<Output = ()>>,
) -> Option<Option<diesel::QueryResult<()>>> {
    let mut sql = marker.map_or_else(|| "SELECT 1".to_owned(), marker::insert);
    if let Some(more) = plan.around.sql() {
        sql.push_str("; ");
        // A comment in its last line must not swallow COMMIT.
        sql.push_str(&more);
        sql.push('\n');
    }
    sql.push_str("; COMMIT");
    let mut sender = conn;
    let committing = sender.batch_execute(&sql);
    let Some(alongside) = plan.around.alongside(conn) else {
        return deadline::unless(deadline::until(plan.limit, committing), gone).await;
    };
    let (mut committing, mut alongside) = (pin!(committing), pin!(alongside));
    let mut answered = false;
    let both = poll_fn(|context| {
        let committed = committing.as_mut().poll(context);
        answered = answered || alongside.as_mut().poll(context).is_ready();
        committed
    });
    let committed = deadline::unless(deadline::until(plan.limit, both), gone.as_mut()).await;
    if !answered && matches!(committed, Some(Some(Ok(())))) {
        // Its answer is right behind that of COMMIT; where it is not, the transaction has committed all the same.
        let late = Some(Instant::now() + GRACE);
        let limit = deadline::earlier(plan.limit, late);
        let _ = deadline::unless(deadline::until(limit, alongside), gone).await;
    }
    committed
}

/// Deals with a failure that the server or the caller put before COMMIT.
async fn refused<A, T, E>(
    from: &A,
    conn: &mut A::Conn,
    plan: &Plan<'_>,
    error: E,
    class: Class,
) -> Ended<T, E>
where
    A: Acquire,
    E: Send,
{
    let class = overruled(class, from.facts(conn).failed_with);
    let alive = roll_back(conn, plan).await;
    plan.around.after(alive.then_some(&mut **conn), CommitOutcome::RolledBack).await;
    Ended::Failed(Failed {
        error,
        class,
        gone: !alive || class == Class::Unavailable,
        answered: alive && class == Class::Permanent,
    })
}

/// Gives up what took too long, which it would again. A slow statement and a server that is gone look the same from here, so
/// nothing is said against the server: the pool takes the connection back, cancels what is under way, and finds out.
async fn too_slow<T, E: From<Error>>(plan: &Plan<'_>) -> Ended<T, E> {
    plan.around.after(None, CommitOutcome::RolledBack).await;
    Ended::Failed(Failed {
        error: plan.too_late().into(),
        class: Class::Permanent,
        gone: false,
        answered: false,
    })
}

/// Gives up on a server that is known to be gone: COMMIT was not sent, so nothing can come of it.
async fn abandoned<T, E: From<Error>>(plan: &Plan<'_>) -> Ended<T, E> {
    plan.around.after(None, CommitOutcome::RolledBack).await;
    let error = went_down();
    Ended::Failed(Failed { class: error.class(), error: error.into(), gone: true, answered: false })
}

/// The server was seen to be gone by somebody else: this connection may never notice.
pub(crate) fn went_down() -> Error {
    Error::ConnectionLost { reason: "its server went down".to_owned() }
}

/// The class of a failure, where the server may have said more than the caller's error lets on.
fn overruled(class: Class, said: Option<SqlState>) -> Class {
    match (said.map(|code| code.class()), class) {
        (Some(said @ (Class::Conflict | Class::Unavailable)), _) => said,
        // A write that was too slow once is too slow again.
        (_, Class::Overloaded) => Class::Permanent,
        (_, class) => class,
    }
}

/// Rolls back, and says whether it went through. Where it did not, the connection is left marked as broken, and its pool
/// closes it.
async fn roll_back(conn: &mut AsyncPgConnection, plan: &Plan<'_>) -> bool {
    let limit = plan.limit.map(|limit| limit + GRACE);
    match deadline::until(limit, conn.batch_execute("ROLLBACK")).await {
        Some(Ok(())) => {
            outside_transaction(conn);
            true
        }
        Some(Err(error)) => {
            tracing::debug!(%error, "rollback did not go through, the connection will be closed");
            false
        }
        None => false,
    }
}
