//! Finds out what became of a transaction when the answer to its COMMIT was lost.
//!
//! The server is asked on another connection. While it is the same server and has not crashed since, its word is
//! final: `pg_xact_status` of an id that it still remembers. After a crash an id may have been given again, so of its
//! answers only "aborted" and "never given" prove something. After a change of the timeline none does, and the marker decides.
//! A transaction that is still open is waited for, and then ended, since nobody is left to commit it.

use std::time::Duration;

use db_core::{Acquire, Class, Classify, CommitOutcome, Error, Report, Result, Site};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::time::Instant;

use crate::attempt::Lost;
use crate::backoff::{Backoff, Jitter};
use crate::deadline;
use crate::marker;
use crate::receipt::{INCARNATION, Receipt, TIMELINE};

/// How long a transaction that is still open may take to notice that its client is gone, or to commit.
const PATIENCE: Duration = Duration::from_millis(50);

/// What is known in the end.
pub(crate) enum Verdict<C> {
    /// It committed; the connection is the one that told.
    Committed(C),
    /// It did not, and never will.
    RolledBack(C),
    /// Nobody can tell, and why.
    Unknown(String),
}

impl<C> Verdict<C> {
    pub(crate) fn outcome(&self) -> CommitOutcome {
        match self {
            Verdict::Committed(_) => CommitOutcome::Committed,
            Verdict::RolledBack(_) => CommitOutcome::RolledBack,
            Verdict::Unknown(_) => CommitOutcome::Unknown,
        }
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Committed,
    RolledBack,
    /// It may be another one later, for this reason.
    NotYet(&'static str),
    /// It will never be another one.
    Undecidable(&'static str),
}

/// Asks until there is an answer, or until `by`.
pub(crate) async fn resolve<A: Acquire>(
    from: &A,
    site: Site,
    lost: &Lost,
    by: Option<Instant>,
) -> Verdict<A::Conn> {
    if lost.receipt.is_none() && lost.marker.is_none() {
        return Verdict::Unknown(
            "nothing identifies the transaction: it was begun with Resolve::Never".to_owned(),
        );
    }
    let started = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(100), 2.0, Jitter::Equal);
    let mut reason = "nobody has answered".to_owned();
    let asking = async {
        loop {
            match from.acquire_at(site).await {
                Ok(mut conn) => match ask(&mut conn, lost, started.elapsed() > PATIENCE).await {
                    Ok(Answer::Committed) => return Verdict::Committed(conn),
                    Ok(Answer::RolledBack) => return Verdict::RolledBack(conn),
                    Ok(Answer::Undecidable(why)) => return Verdict::Unknown(why.to_owned()),
                    Ok(Answer::NotYet(why)) => {
                        reason = why.to_owned();
                        if why == STANDBY {
                            from.report(&mut conn, Report::ServerGone);
                        }
                    }
                    Err(error) if error.class() == Class::Permanent => {
                        return Verdict::Unknown(format!("the server does not tell: {error}"));
                    }
                    Err(error) => {
                        if error.class() == Class::Unavailable {
                            from.report(&mut conn, Report::ServerGone);
                        }
                        reason = error.to_string();
                    }
                },
                Err(error @ Error::PoolClosed { .. }) => return Verdict::Unknown(error.to_string()),
                Err(error) => reason = error.to_string(),
            }
            let pause = backoff.next_pause(&mut rand::rng());
            tokio::time::sleep(pause).await;
        }
    };
    match deadline::until(by, asking).await {
        Some(verdict) => verdict,
        None => Verdict::Unknown(format!(
            "its outcome was not to be had within {:.1?}: {reason}",
            started.elapsed()
        )),
    }
}

const STANDBY: &str = "the server is a standby";

async fn ask(conn: &mut AsyncPgConnection, lost: &Lost, end_it: bool) -> Result<Answer> {
    let Some(receipt) = &lost.receipt else {
        return by_marker(conn, lost, Answer::Undecidable("it has no marker")).await;
    };
    let status = Status(receipt).get_result::<(bool, bool, bool, Option<String>)>(conn).await?;
    let answer = judge(status);
    match answer {
        Answer::NotYet(OPEN) if end_it => {
            // Where this role may not, it is waited for all the same.
            let _ = End(receipt).execute(conn).await;
            Ok(answer)
        }
        Answer::Undecidable(_) => by_marker(conn, lost, answer).await,
        answer => Ok(answer),
    }
}

async fn by_marker(conn: &mut AsyncPgConnection, lost: &Lost, otherwise: Answer) -> Result<Answer> {
    let Some(id) = lost.marker else { return Ok(otherwise) };
    Ok(if marker::fence(conn, id).await? { Answer::Committed } else { Answer::RolledBack })
}

const OPEN: &str = "the transaction is still open";

/// What the server's word proves: whether it is a standby, has our timeline, has not crashed, and the status.
fn judge((standby, timeline, incarnation, status): (bool, bool, bool, Option<String>)) -> Answer {
    match (standby, timeline, incarnation, status.as_deref()) {
        (true, ..) => Answer::NotYet(STANDBY),
        (_, false, ..) => {
            Answer::Undecidable("another server has taken over, which only a marker row survives")
        }
        // Never given, or given to nobody who committed: ours is not among them.
        (.., Some("aborted" | "free")) => Answer::RolledBack,
        (_, _, false, _) => Answer::Undecidable(
            "the server has crashed since, and may have given its id to another one, which only a marker row survives",
        ),
        (.., Some("committed")) => Answer::Committed,
        (.., Some(_)) => Answer::NotYet(OPEN),
        (.., None) => Answer::Undecidable("the server has forgotten so old a transaction"),
    }
}

/// Asks for the status of a transaction, and whether the server is still the one that ran it.
#[derive(Debug, Clone)]
struct Status<'a>(&'a Receipt);

impl QueryId for Status<'_> {
    type QueryId = Status<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for Status<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Receipt { transaction, timeline, incarnation } = self.0;
        // Nothing below is asked of a standby, which would refuse it. The id that the question itself takes is beyond
        // all that were given, and keeps pg_xact_status from failing at one that was not.
        out.push_sql("SELECT pg_is_in_recovery(), coalesce(CASE WHEN NOT pg_is_in_recovery() THEN ");
        out.push_sql(TIMELINE);
        out.push_sql(" END = ");
        out.push_bind_param::<Text, _>(timeline)?;
        out.push_sql(", false), ");
        out.push_sql(INCARNATION);
        out.push_sql(" = ");
        out.push_bind_param::<Text, _>(incarnation)?;
        out.push_sql(", CASE WHEN pg_is_in_recovery() THEN NULL WHEN pg_current_xact_id() <= ");
        push_id(&mut out, transaction)?;
        out.push_sql(" THEN 'free' ELSE pg_xact_status(");
        push_id(&mut out, transaction)?;
        out.push_sql(") END");
        Ok(())
    }
}

impl Query for Status<'_> {
    type SqlType = (Bool, Bool, Bool, Nullable<Text>);
}

/// Ends whoever has the transaction open. No two have the same id at one time.
///
/// One that waits for a synchronous standby has committed already, and is left to it.
#[derive(Debug, Clone)]
struct End<'a>(&'a Receipt);

impl QueryId for End<'_> {
    type QueryId = End<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for End<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = CAST(");
        push_id(&mut out, &self.0.transaction)?;
        out.push_sql(" AS xid) AND wait_event IS DISTINCT FROM 'SyncRep'");
        Ok(())
    }
}

impl Query for End<'_> {
    type SqlType = Bool;
}

fn push_id<'b>(out: &mut AstPass<'_, 'b, Pg>, transaction: &'b str) -> QueryResult<()> {
    out.push_sql("CAST(");
    out.push_bind_param::<Text, _>(transaction)?;
    out.push_sql(" AS xid8)");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seen: (bool, bool, bool, Option<&str>), proves: impl Fn(&Answer) -> bool) {
        let (standby, timeline, incarnation, status) = seen;
        let answer = judge((standby, timeline, incarnation, status.map(str::to_owned)));
        assert!(proves(&answer), "{seen:?}: {answer:?}");
    }

    #[test]
    fn a_servers_word_proves_no_more_than_it_can_know() {
        let committed = |answer: &Answer| *answer == Answer::Committed;
        let rolled_back = |answer: &Answer| *answer == Answer::RolledBack;
        let undecidable = |answer: &Answer| matches!(answer, Answer::Undecidable(_));
        let later = |answer: &Answer| matches!(answer, Answer::NotYet(_));
        check((false, true, true, Some("committed")), committed);
        check((false, true, true, Some("aborted")), rolled_back);
        check((false, true, true, Some("in progress")), later);
        check((false, true, true, None), undecidable);
        check((false, true, false, Some("committed")), undecidable);
        check((false, true, false, Some("in progress")), undecidable);
        check((false, true, false, Some("aborted")), rolled_back);
        check((false, true, false, Some("free")), rolled_back);
        for status in [Some("committed"), Some("aborted"), Some("free"), Some("in progress"), None] {
            check((false, false, true, status), undecidable);
            check((true, false, false, status), later);
        }
    }
}
