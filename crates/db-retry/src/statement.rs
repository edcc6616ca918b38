//! Runs one statement that is a transaction of its own, in one round trip.
//!
//! There is no BEGIN, so nothing identifies it, and no COMMIT: its answer is COMMIT's. Where the answer is
//! lost after the statement was sent, nobody can find out whether it was applied. Where it was not sent, or
//! the server has refused it, it was not.

use std::future::poll_fn;
use std::pin::{Pin, pin};

use db_core::{
    Acquire, AroundCommit, Class, Classify, CommitOutcome, Error, Facts, Report, Result, ServerReport, Site,
    TransactionStatus,
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::condition::Condition;
use crate::deadline;
use crate::ended::{Failed, Lost, differ, is_doubtful, overruled, went_down};
use crate::plan::GRACE;
use crate::retry::{Retry, class_of_acquire};
use crate::said::Said;

/// One statement, which can be sent as often as it takes.
pub trait Statement<T>: Send + Sync {
    /// Sends it, and reads the answer to its end: what the server says there may be that it was rolled back.
    fn send<'c>(
        &'c self,
        conn: &'c AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = diesel::QueryResult<T>> + Send + 'c>>;
}

impl<C> Retry<C> {
    /// Runs one statement on a connection of `from`, as a transaction of its own; again where nothing of it
    /// was applied and another attempt may help.
    ///
    /// It must not begin or end a transaction, and must not be a command that commits by itself, such as
    /// `CALL`. Of `around` only [`AroundCommit::alongside`] and [`AroundCommit::after`] run: there is no
    /// transaction for the others. With `idempotent` it runs again as well where nobody can tell whether it
    /// was applied.
    ///
    /// # Errors
    /// The server's; [`Error::CommitUnknown`] where the answer was lost after the statement was sent.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement, which may have been applied.
    pub async fn statement_at<A, T>(
        &self,
        site: Site,
        from: &A,
        around: &dyn AroundCommit,
        idempotent: bool,
        statement: impl Statement<T>,
    ) -> Result<T>
    where
        C: Condition<Error>,
        A: Acquire,
        T: Send,
    {
        let mut attempts = Attempts::start(self);
        loop {
            match self.state(&attempts, site, from, around, idempotent, &statement).await {
                Ok(value) => {
                    attempts.came_through();
                    return Ok(value);
                }
                Err(failed) => self.or_again(&mut attempts, failed).await?,
            }
        }
    }

    async fn state<A, T>(
        &self,
        attempts: &Attempts<'_>,
        site: Site,
        from: &A,
        around: &dyn AroundCommit,
        idempotent: bool,
        statement: &impl Statement<T>,
    ) -> Result<T, Failed<Error>>
    where
        A: Acquire,
        T: Send,
    {
        let mut conn = attempts.acquire(from, site).await.map_err(|error| {
            let class = class_of_acquire(&error);
            Failed::ours(error, class, false)
        })?;
        let lost = match deadline::scope(attempts.deadline(), once(from, &mut conn, around, statement)).await
        {
            Ended::Applied(value) => return Ok(value),
            Ended::Failed(failed) => {
                if failed.gone {
                    from.report(&mut conn, Report::ServerGone);
                }
                return Err(failed);
            }
            Ended::Lost(lost) => lost,
        };
        from.report(&mut conn, Report::CommitUnanswered);
        drop(conn);
        self.shared().counter().add_commit(CommitOutcome::Unknown);
        around.after(None, CommitOutcome::Unknown).await;
        Err(unknown(lost, idempotent))
    }
}

/// How one attempt ended.
enum Ended<T> {
    Applied(T),
    /// Nothing is left of it.
    Failed(Failed<Error>),
    /// It was sent, and nobody knows what became of it.
    Lost(Lost),
}

async fn once<A, T>(
    from: &A,
    conn: &mut A::Conn,
    around: &dyn AroundCommit,
    statement: &impl Statement<T>,
) -> Ended<T>
where
    A: Acquire,
    T: Send,
{
    let begun = from.facts(conn);
    let mut gone = pin!(from.server_down(conn));
    let answer = {
        let shared: &AsyncPgConnection = conn;
        // Before anything is sent: whoever is dropped from here on has written, as far as the session knows.
        let mut alongside = around.alongside(shared);
        let mut running = statement.send(shared);
        let both = poll_fn(|context| {
            let answer = running.as_mut().poll(context);
            if alongside.as_mut().is_some_and(|hook| hook.as_mut().poll(context).is_ready()) {
                alongside = None;
            }
            answer
        });
        let answer = deadline::unless(both, gone.as_mut()).await;
        let is_applied = matches!(answer, Some(Ok(_)));
        if let Some(late) = alongside.take().filter(|_| is_applied) {
            finish(late, gone.as_mut()).await;
        }
        answer
    };
    let Some(answer) = answer else { return lost(went_down(), None) };
    let now = from.facts(conn);
    match answer {
        Ok(_) if now.status.is_some_and(|status| status != TransactionStatus::Idle) => {
            // Whatever it has begun is rolled back when the connection goes back.
            around.after(None, CommitOutcome::Unknown).await;
            let reason = "one statement has opened a transaction".to_owned();
            Ended::Failed(Failed::ours(Error::TransactionEnded { reason }, Class::Unknown, false))
        }
        Ok(_) if differ(now.waits_given_up, begun.waits_given_up) => {
            let message = "the server gave up waiting for its synchronous standby";
            let why = "it is applied on the primary, and the standby may not have it";
            lost(Error::from_report(ServerReport::new(message, None)), Some(why))
        }
        Ok(value) => {
            if !is_behind(&begun, &now) {
                // It was prepared first, and what was to go out behind it went before: it is asked again.
                if let Some(again) = around.alongside(conn) {
                    finish(again, gone).await;
                }
            }
            around.after(Some(conn), CommitOutcome::Committed).await;
            Ended::Applied(value)
        }
        Err(error) => {
            let error = Error::from(error);
            let was_sent = now.runs.is_none() || now.runs != begun.runs;
            if was_sent && !is_refusal(conn, &error, &now).await {
                let is_connection = matches!(error, Error::ConnectionLost { .. }) || error.report().is_some();
                let why = (!is_connection).then_some("its answer could not be read");
                return lost(error.with_last_words(now.last_words), why);
            }
            around.after(Some(conn), CommitOutcome::RolledBack).await;
            let said = Said::of(&error, &now);
            let class = overruled(error.class(), now.failed_with.filter(|_| was_sent));
            let gone = class == Class::Unavailable;
            let answered = class == Class::Permanent && error.report().is_some();
            let error = error.with_last_words(now.last_words);
            Ended::Failed(Failed { error, class, said, gone, answered })
        }
    }
}

/// Whether the first statement of what went along was the second that ran and neither had to be prepared:
/// then it was sent when it was first asked for, right behind the first.
fn is_behind(begun: &Facts, now: &Facts) -> bool {
    let runs = begun.runs.and_then(|runs| runs.checked_add(2));
    runs.is_some() && runs == now.runs && begun.prepares.is_some() && begun.prepares == now.prepares
}

/// Whether an error of the server's proves that nothing was applied: it refused the statement, and the
/// session goes on. A pooler that has lost its server says so in codes of its own, and one that ends the
/// session may do so after the statement was applied.
async fn is_refusal(conn: &mut AsyncPgConnection, error: &Error, now: &Facts) -> bool {
    if error.report().is_none() || is_doubtful(error) || now.last_words.is_some() {
        return false;
    }
    // Where nobody reads the wire, the session is asked whether it goes on.
    now.status == Some(TransactionStatus::Idle)
        || (now.status.is_none()
            && deadline::until(Some(Instant::now() + GRACE), conn.batch_execute(""))
                .await
                .is_some_and(|alive| alive.is_ok()))
}

/// Waits for what is right behind an answer that has come.
async fn finish(
    late: Pin<Box<dyn Future<Output = ()> + Send + '_>>,
    gone: Pin<&mut impl Future<Output = ()>>,
) {
    let _ = deadline::unless(deadline::until(Some(Instant::now() + GRACE), late), gone).await;
}

fn lost<T>(cause: Error, why: Option<&str>) -> Ended<T> {
    Ended::Lost(Lost { cause, receipt: None, marker: None, unresolvable: why.map(str::to_owned) })
}

/// What the caller is told of a statement whose outcome nobody knows.
pub(crate) fn unknown(lost: Lost, idempotent: bool) -> Failed<Error> {
    let why = lost.unresolvable.unwrap_or_else(|| {
        "nothing identifies a statement that is its own transaction (DB_COMMIT_MARKERS marks each)".to_owned()
    });
    let error = Error::CommitUnknown(Box::new(db_core::UnknownCommit::new(lost.cause, None, why)));
    // Its caller says that a second time does no harm.
    let class = if idempotent { Class::Unavailable } else { Class::Unknown };
    Failed::ours(error, class, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_along_counts_only_where_it_is_known_to_have_gone_behind() {
        let known = |runs, prepares| Facts { runs: Some(runs), prepares: Some(prepares), ..Facts::UNKNOWN };
        assert!(is_behind(&known(3, 2), &known(5, 2)));
        for now in [known(5, 3), known(6, 2), known(4, 2), Facts::UNKNOWN] {
            assert!(!is_behind(&known(3, 2), &now), "{now:?}");
        }
        assert!(!is_behind(&Facts::UNKNOWN, &Facts::UNKNOWN));
    }
}
