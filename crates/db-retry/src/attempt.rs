//! One attempt at a transaction: BEGIN, the work, COMMIT, on one connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use db_core::{Acquire, Class, Classify, CommitOutcome, Error, Facts, Once, Opened, ServerReport};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::Instant;

use crate::as_one::{BatchEnd, ended_as_one};
use crate::deadline;
use crate::diesel_state::{inside_transaction, outside_transaction};
use crate::ended::{Ended, Failed, Lost, differ, ended_inside, is_doubtful, is_sent, overruled, went_down};
use crate::marker::{self, Marker};
use crate::plan::{GRACE, Plan};
use crate::receipt::{self, Receipt};
use crate::said::Said;

/// How long a ROLLBACK may take where nobody set a limit: it waits for nothing, so a server that does not
/// answer it has stopped.
const ROLLED_BACK: Duration = Duration::from_secs(5);

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
    let began = deadline::unless(begin(from, conn, plan), gone.as_mut());
    let (begun, receipt, marker) = match deadline::until(plan.limit, began).await {
        Some(None) => return abandoned(plan).await,
        Some(Some(Ok(begun))) => begun,
        Some(Some(Err(error))) => {
            let (class, said) = (error.class(), Said::of(&error, &from.facts(conn)));
            let alive = roll_back(conn, plan).await;
            let gone = !alive || class == Class::Unavailable;
            return Ended::Failed(Failed { error: error.into(), class, said, gone, answered: false });
        }
        // Nothing has happened. Whether the server has stopped or a pooler has no place, the pool finds out.
        None => return Ended::Failed(Failed::ours(plan.too_late().into(), Class::Overloaded, false)),
    };
    if begun.begin == Opened::Unsent && plan.begin.batched().is_some() {
        // Whoever is dropped from here on has written, as far as the session knows; it is asked when the
        // answer is there.
        drop(plan.around.alongside(conn));
    }
    let worked = deadline::until(plan.limit, deadline::unless(work(conn), gone.as_mut())).await;
    if let Some(became) = BatchEnd::of(&begun, &from.facts(conn)) {
        return ended_as_one(conn, plan, became, worked).await;
    }
    let value = match worked {
        Some(None) => return abandoned(plan).await,
        Some(Some(Ok(value))) => value,
        Some(Some(Err(error))) => return refused(from, conn, plan, &begun, error).await,
        None => return too_slow(plan).await,
    };
    if let Some(reason) = ended_inside(&begun, &from.facts(conn)) {
        return disowned(conn, plan, reason).await;
    }
    match deadline::until(plan.limit, deadline::unless(plan.around.before(conn), gone.as_mut())).await {
        Some(None) => return abandoned(plan).await,
        Some(Some(Ok(()))) => {}
        Some(Some(Err(error))) => return refused(from, conn, plan, &begun, error.into()).await,
        None => return too_slow(plan).await,
    }
    let receipt = receipt.or_else(|| Receipt::of(&from.facts(conn)));
    let committed = commit(conn, plan, receipt.as_ref(), marker.as_ref(), gone).await;
    let committed = match committed {
        // The server has not begun the transaction, and COMMIT waited for that.
        Some(Some(Err(error))) if !is_sent(&from.facts(conn)) => {
            return refused(from, conn, plan, &begun, Error::from(error).into()).await;
        }
        committed => committed,
    };
    // Where nothing was asked before COMMIT, BEGIN went out with it.
    let receipt = receipt.or_else(|| Receipt::of(&from.facts(conn)));
    let (cause, unresolvable) = match committed {
        // The server may have it and may yet act on it.
        None => (went_down(), None),
        Some(None) => (plan.too_late(), None),
        Some(Some(Ok(()))) => match of_answer(&begun, &from.facts(conn)) {
            Answered::Committed => {
                outside_transaction(conn);
                plan.around.after(Some(conn), CommitOutcome::Committed).await;
                return Ended::Committed(value);
            }
            Answered::RolledBack => {
                return disowned(conn, plan, "its COMMIT was answered as a rollback").await;
            }
            Answered::Unreplicated => {
                outside_transaction(conn);
                let message = "the server gave up waiting for its synchronous standby";
                let cause = Error::from_report(ServerReport::new(message, None));
                (cause, Some("it has committed on the primary, and the standby may not have it".to_owned()))
            }
        },
        Some(Some(Err(error))) => {
            let error = Error::from(error);
            if Receipt::is_guards(&error) {
                return disowned(conn, plan, "another transaction was open in its place").await;
            }
            let facts = from.facts(conn);
            // A pooler may answer COMMIT with an error and keep its client: a ROLLBACK that goes through
            // proves nothing then. What cannot have written has nothing to lose.
            let cannot_write = plan.begin.read_only || (plan.begin.is_identified() && receipt.is_none());
            let is_proof = !is_doubtful(&error) || (cannot_write && !plan.begin.is_marked());
            // A connection that is gone now went while COMMIT was on its way, whatever the last words were:
            // lost, 57P01.
            if roll_back(conn, plan).await && is_proof {
                plan.around.after(Some(conn), CommitOutcome::RolledBack).await;
                let class = overruled(error.class(), facts.failed_with);
                let mut said = Said::of(&error, &facts);
                if marker.is_some() && plan.marker_schema.is_none() && marker::is_missing(&error) {
                    // It is somewhere else now, and nothing was done: the next attempt looks for it.
                    plan.markers.forget();
                    said.stale = true;
                }
                return Ended::Failed(Failed {
                    said,
                    error: error.into(),
                    class,
                    gone: class == Class::Unavailable,
                    answered: class == Class::Permanent,
                });
            }
            (error, None)
        }
    };
    Ended::Lost(value, Lost { cause, receipt, marker, unresolvable })
}

/// Finds the table of the marker where there is to be one, and begins the transaction: with its first request
/// where the source can do that. What is known then of the connection goes with it.
async fn begin<A: Acquire>(
    from: &A,
    conn: &mut A::Conn,
    plan: &Plan<'_>,
) -> db_core::Result<(Facts, Option<Receipt>, Option<Marker>)> {
    let marker = match plan.begin.is_marked() {
        true => Some(Marker::new(plan.markers.find(conn, plan.marker_schema).await?)),
        false => None,
    };
    inside_transaction(conn)?;
    let opening = receipt::opening(plan.begin, plan.path);
    if from.begin_with(conn, &opening) {
        return Ok((from.facts(conn), None, marker));
    }
    let receipt = receipt::begin(conn, &opening).await?;
    let begun = from.facts(conn);
    let system = begun.server.and_then(|server| server.system);
    Ok((begun, receipt.map(|receipt| Receipt { system, ..receipt }), marker))
}

/// Commits, and lets the caller's own statement go out behind: none where the server was seen to be gone, and
/// inside that none where no answer came in time.
///
/// COMMIT of a failed transaction rolls back and reports success, so a statement goes before it, in the same
/// message, that fails in a failed transaction, and in another one than was begun where that is known.
async fn commit(
    conn: &AsyncPgConnection,
    plan: &Plan<'_>,
    receipt: Option<&Receipt>,
    marker: Option<&Marker>,
    mut gone: Pin<&mut impl Future<Output = ()>>,
) -> Option<Option<diesel::QueryResult<()>>> {
    let mut sql = receipt.and_then(Receipt::guard).unwrap_or_else(|| "SELECT 1".to_owned());
    if let Some(marker) = marker {
        sql.push_str("; ");
        sql.push_str(&marker.insert());
    }
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
        // Its answer is right behind that of COMMIT; where it is not, the transaction has committed all the
        // same.
        let late = Some(Instant::now() + GRACE);
        let limit = deadline::earlier(plan.limit, late);
        let _ = deadline::unless(deadline::until(limit, alongside), gone).await;
    }
    committed
}

/// How the server answered COMMIT, by what the wire has shown.
enum Answered {
    Committed,
    RolledBack,
    /// It committed without the synchronous standby that it was to wait for.
    Unreplicated,
}

fn of_answer(begun: &Facts, now: &Facts) -> Answered {
    if now.commits.is_some() && now.commits == begun.commits {
        Answered::RolledBack
    } else if differ(now.waits_given_up, begun.waits_given_up) {
        Answered::Unreplicated
    } else {
        Answered::Committed
    }
}

/// Ends what goes on in the place of the transaction. What of the work was committed nobody knows, so it is
/// not run again.
async fn disowned<T, E: From<Error>>(
    conn: &mut AsyncPgConnection,
    plan: &Plan<'_>,
    reason: &'static str,
) -> Ended<T, E> {
    let alive = roll_back(conn, plan).await;
    plan.around.after(alive.then_some(&mut *conn), CommitOutcome::Unknown).await;
    let error = Error::TransactionEnded { reason: reason.to_owned() };
    // No condition of the caller's is asked about it: it cannot know what was committed.
    Ended::Failed(Failed::ours(error.into(), Class::Unknown, !alive))
}

/// Deals with a failure that the server or the caller put before COMMIT.
async fn refused<A, T, E>(
    from: &A,
    conn: &mut A::Conn,
    plan: &Plan<'_>,
    begun: &Facts,
    error: E,
) -> Ended<T, E>
where
    A: Acquire,
    E: From<Error> + Classify + Send,
{
    let facts = from.facts(conn);
    if let Some(reason) = ended_inside(begun, &facts) {
        return disowned(conn, plan, reason).await;
    }
    let said = Said::of(&error, &facts);
    let class = overruled(error.class(), facts.failed_with);
    // The server has said why it ended the session, and the caller knows only that it did.
    let (error, class) = match facts.last_words {
        Some(code) if class == Class::Unavailable && code.class() == Class::Permanent => {
            let lost = Error::ConnectionLost { reason: "connection closed".to_owned() };
            (E::from(lost.with_last_words(Some(code))), Class::Permanent)
        }
        _ => (error, class),
    };
    let alive = roll_back(conn, plan).await;
    plan.around.after(alive.then_some(&mut **conn), CommitOutcome::RolledBack).await;
    let gone = !alive || class == Class::Unavailable;
    Ended::Failed(Failed { error, class, said, gone, answered: alive && class == Class::Permanent })
}

/// Gives up what took too long, which it would again. A slow statement and a server that is gone look the
/// same from here, so nothing is said against the server: the pool takes the connection back, cancels what is
/// under way, and finds out.
async fn too_slow<T, E: From<Error>>(plan: &Plan<'_>) -> Ended<T, E> {
    plan.around.after(None, CommitOutcome::RolledBack).await;
    Ended::Failed(Failed::ours(plan.too_late().into(), Class::Permanent, false))
}

/// Gives up on a server that is known to be gone: COMMIT was not sent, so nothing can come of it.
async fn abandoned<T, E: From<Error>>(plan: &Plan<'_>) -> Ended<T, E> {
    plan.around.after(None, CommitOutcome::RolledBack).await;
    let error = went_down();
    let class = error.class();
    Ended::Failed(Failed::ours(error.into(), class, true))
}

/// Rolls back, and says whether it went through. Where it did not, the connection is left marked as broken,
/// and its pool closes it.
async fn roll_back(conn: &mut AsyncPgConnection, plan: &Plan<'_>) -> bool {
    let longest = deadline::after(Instant::now(), Some(ROLLED_BACK));
    let limit = plan.limit.and_then(|limit| limit.checked_add(GRACE));
    let limit = deadline::earlier(limit, longest);
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

#[cfg(test)]
mod tests {
    use db_core::TransactionStatus;

    use super::*;

    #[test]
    fn nothing_follows_from_what_is_not_known() {
        let known = |commits, status| Facts {
            commits: Some(commits),
            waits_given_up: Some(0),
            status: Some(status),
            ..Facts::UNKNOWN
        };
        let begun = known(3, TransactionStatus::Open);
        assert_eq!(ended_inside(&begun, &Facts::UNKNOWN), None, "the wire lost track");
        assert!(matches!(of_answer(&begun, &Facts::UNKNOWN), Answered::Committed));
        assert!(ended_inside(&begun, &known(4, TransactionStatus::Open)).is_some());
        assert!(ended_inside(&begun, &known(3, TransactionStatus::Idle)).is_some());
        assert_eq!(ended_inside(&begun, &known(3, TransactionStatus::Failed)), None);
        assert!(matches!(of_answer(&begun, &known(3, TransactionStatus::Idle)), Answered::RolledBack));
        assert!(matches!(of_answer(&begun, &known(4, TransactionStatus::Idle)), Answered::Committed));
        let given_up = Facts { waits_given_up: Some(1), ..known(4, TransactionStatus::Idle) };
        assert!(matches!(of_answer(&begun, &given_up), Answered::Unreplicated));
    }
}
