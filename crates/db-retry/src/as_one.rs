//! A batch of statements that went out as one request: its answer is COMMIT's.
//!
//! There was no BEGIN, so nothing identifies it. Where its answer is lost after it was sent, nobody can find
//! out whether it was applied.

use db_core::{Class, Classify, CommitOutcome, Error, Evidence, Facts, Opened, ServerReport};
use diesel_async::AsyncPgConnection;
use tokio::time::Instant;

use crate::deadline;
use crate::diesel_state::outside_transaction;
use crate::ended::{Ended, Failed, Lost, differ, overruled, went_down};
use crate::plan::{GRACE, Plan};
use crate::said::Said;

/// How a batch ended that went out as one request.
pub(crate) enum BatchEnd {
    Committed,
    /// It committed without the synchronous standby that it was to wait for.
    Unreplicated,
    RolledBack(Facts),
    /// Its answer has not come.
    Unanswered(Facts),
}

impl BatchEnd {
    /// None where the batch began as any other transaction, or has not begun.
    pub(crate) fn of(begun: &Facts, now: &Facts) -> Option<Self> {
        match now.begin {
            Opened::AsOne => Some(BatchEnd::Unanswered(now.clone())),
            Opened::RolledBack => Some(BatchEnd::RolledBack(now.clone())),
            Opened::Committed if differ(now.waits_given_up, begun.waits_given_up) => {
                Some(BatchEnd::Unreplicated)
            }
            Opened::Committed => Some(BatchEnd::Committed),
            _ => None,
        }
    }
}

/// Says how such a batch ended; `worked` is what the caller made of its answers, none where it did not wait
/// for them.
pub(crate) async fn ended_as_one<T, E>(
    conn: &mut AsyncPgConnection,
    plan: &Plan<'_>,
    end: BatchEnd,
    worked: Option<Option<Result<T, E>>>,
) -> Ended<T, E>
where
    E: From<Error> + Classify,
{
    let value = match worked {
        Some(Some(answer)) => Some(answer),
        _ => None,
    };
    match (end, value) {
        (BatchEnd::Committed, Some(answer)) => {
            outside_transaction(conn);
            if let Some(alongside) = plan.around.alongside(conn) {
                let late = deadline::earlier(plan.limit, Some(Instant::now() + GRACE));
                let _ = deadline::until(late, alongside).await;
            }
            plan.around.after(Some(conn), CommitOutcome::Committed).await;
            match answer {
                Ok(value) => Ended::Committed(value),
                // The caller could not read what the server has applied: another attempt would apply it
                // twice.
                Err(error) => Ended::Failed(Failed::ours(error, Class::Unknown, false)),
            }
        }
        (BatchEnd::RolledBack(facts), Some(Err(error))) => {
            outside_transaction(conn);
            plan.around.after(Some(conn), CommitOutcome::RolledBack).await;
            let (class, said) = (overruled(error.class(), facts.failed_with), Said::of(&error, &facts));
            let gone = class == Class::Unavailable;
            Ended::Failed(Failed { error, class, said, gone, answered: class == Class::Permanent })
        }
        // Nobody waited for the answers, or nobody looked at them: all the same, nothing was applied.
        (BatchEnd::RolledBack(facts), _) => {
            plan.around.after(None, CommitOutcome::RolledBack).await;
            let message = "the batch was rolled back";
            let code = facts.failed_with.map(|code| (code, Evidence::Server));
            let error = Error::from_report(ServerReport::new(message, code));
            Ended::Failed(Failed::ours(error.into(), Class::Permanent, false))
        }
        (BatchEnd::Unreplicated, _) => {
            let message = "the server gave up waiting for its synchronous standby";
            let why = "it has committed on the primary, and the standby may not have it";
            lost(Error::from_report(ServerReport::new(message, None)), why)
        }
        (BatchEnd::Unanswered(facts), worked) => {
            // An error that leaves it open whether it was applied is the cause; without one the link is gone.
            let said = worked.and_then(Result::err).and_then(|error| Said::of(&error, &facts).code);
            let cause = match said {
                Some(code) => {
                    let message = "the server's answer does not tell whether the batch was applied";
                    Error::from_report(ServerReport::new(message, Some((code, Evidence::Server))))
                }
                None => went_down().with_last_words(facts.last_words),
            };
            lost(cause, NOTHING_IDENTIFIES)
        }
        (BatchEnd::Committed, None) => lost(went_down(), NOTHING_IDENTIFIES),
    }
}

const NOTHING_IDENTIFIES: &str =
    "nothing identifies a batch that is sent as one request (DB_COMMIT_MARKERS marks each transaction)";

fn lost<T, E>(cause: Error, why: &str) -> Ended<T, E> {
    Ended::LostBatch(Lost { cause, receipt: None, marker: None, unresolvable: Some(why.to_owned()) })
}
