//! Finds out what became of a transaction when the answer to its COMMIT was lost.
//!
//! The server is asked on another connection. While it is the same server and has not crashed since, its word
//! is final: `pg_xact_status` of an id that it still remembers. After a crash an id may have been given
//! again, so of its answers only "aborted" and "never given" prove something, and only where it is known to
//! be the same cluster. After a change of the timeline none does, and the marker decides. On another cluster
//! a marker proves that the transaction committed, and its absence proves nothing: what was committed
//! elsewhere may never come here.
//!
//! Committed is more than "committed here": where the server waits for a synchronous standby, that one must
//! have it. A transaction that is still open is waited for, and then ended, since nobody is left to commit
//! it.

use std::time::Duration;

use db_core::{Acquire, Class, Classify, CommitOutcome, Error, Report, Result, Site};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::time::Instant;

use crate::backoff::{Backoff, Jitter};
use crate::deadline;
use crate::ended::Lost;
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
    if let Some(why) = &lost.unresolvable {
        return Verdict::Unknown(why.clone());
    }
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
                Ok(mut conn) => match ask(from, &mut conn, lost, started.elapsed() > PATIENCE).await {
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

async fn ask<A: Acquire>(from: &A, conn: &mut A::Conn, lost: &Lost, end_it: bool) -> Result<Answer> {
    let same = |system: Option<u64>| Some(from.facts(conn).server?.system? == system?);
    let Some(receipt) = &lost.receipt else {
        // Nothing is known of the server that ran it.
        return by_marker(conn, lost, None, Answer::Undecidable("it has no marker")).await;
    };
    let same_cluster = same(receipt.system);
    let status = Status(receipt).get_result::<Told>(conn).await?;
    let waits = status.4;
    let answer = judge(same_cluster, status);
    match answer {
        Answer::NotYet(OPEN) if end_it => {
            // Where this role may not, it is waited for all the same.
            let _ = End(receipt).execute(conn).await;
            Ok(answer)
        }
        Answer::Committed if waits => replicated(from, conn).await,
        Answer::Undecidable(_) => match by_marker(conn, lost, same_cluster, answer).await? {
            Answer::Committed if waits => replicated(from, conn).await,
            answer => Ok(answer),
        },
        answer => Ok(answer),
    }
}

/// What the marker proves, else `otherwise`: it is nowhere but where the transaction committed, and where it
/// is not on its own cluster, the fence sees to it that it never will be.
async fn by_marker(
    conn: &mut AsyncPgConnection,
    lost: &Lost,
    same_cluster: Option<bool>,
    otherwise: Answer,
) -> Result<Answer> {
    let Some(marker) = &lost.marker else { return Ok(otherwise) };
    // Without a system identifier a change of the timeline cannot be told from another cluster.
    if same_cluster != Some(true) {
        return Ok(if marker.is_there(conn).await? { Answer::Committed } else { otherwise });
    }
    Ok(if marker.fence(conn).await? { Answer::Committed } else { Answer::RolledBack })
}

/// Whether the synchronous standby has everything that this server has committed: a COMMIT of our own waits
/// for it.
async fn replicated<A: Acquire>(from: &A, conn: &mut A::Conn) -> Result<Answer> {
    let before = from.facts(conn).waits_given_up;
    Reach.execute(conn).await?;
    Ok(if from.facts(conn).waits_given_up == before {
        Answer::Committed
    } else {
        Answer::NotYet("it has committed here, and the synchronous standby has not confirmed it")
    })
}

const OPEN: &str = "the transaction is still open";

/// Whether the server is a standby, whether it has our timeline and has not crashed, the status, and whether
/// it waits for a synchronous standby.
type Told = (bool, bool, bool, Option<String>, bool);

/// What the server's word proves, where it is known whether it is of the same cluster.
fn judge(same_cluster: Option<bool>, (standby, timeline, incarnation, status, _): Told) -> Answer {
    match (standby, same_cluster, timeline, incarnation, status.as_deref()) {
        (true, ..) => Answer::NotYet(STANDBY),
        (_, Some(false), ..) => {
            Answer::Undecidable("another cluster answers, which may lack what was committed on the first")
        }
        (_, _, false, ..) => {
            Answer::Undecidable("another server has taken over, which only a marker row survives")
        }
        // The same run of the same server, or one that crashed since: never given, or given to nobody who
        // committed.
        (_, _, _, true, Some("aborted" | "free")) | (_, Some(true), _, _, Some("aborted" | "free")) => {
            Answer::RolledBack
        }
        (_, _, _, false, _) => Answer::Undecidable(
            "the server has crashed since or is another one, and may have given its id to another transaction, which only a \
             marker row survives",
        ),
        (.., Some("committed")) => Answer::Committed,
        (.., Some(_)) => Answer::NotYet(OPEN),
        (.., None) => Answer::Undecidable("the server has forgotten so old a transaction"),
    }
}

/// Commits something that waits for the synchronous standby as every COMMIT does: a message in the log that
/// nobody reads.
#[derive(Debug, Clone, Copy, QueryId)]
struct Reach;

impl QueryFragment<Pg> for Reach {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT pg_catalog.pg_logical_emit_message(true, 'db-retry', '')");
        Ok(())
    }
}

impl Query for Reach {
    type SqlType = Text;
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
        let Receipt { transaction, timeline, incarnation, .. } = self.0;
        // Nothing below is asked of a standby, which would refuse it. The id that the question itself takes
        // is beyond all that were given, and keeps pg_xact_status from failing at one that was not.
        out.push_sql("SELECT pg_catalog.pg_is_in_recovery(), coalesce(CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN ");
        out.push_sql(TIMELINE);
        out.push_sql(" END OPERATOR(pg_catalog.=) ");
        out.push_bind_param::<Text, _>(timeline)?;
        out.push_sql(", false), ");
        out.push_sql(INCARNATION);
        out.push_sql(" OPERATOR(pg_catalog.=) ");
        out.push_bind_param::<Text, _>(incarnation)?;
        out.push_sql(", CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL WHEN pg_catalog.pg_current_xact_id() OPERATOR(pg_catalog.<=) ");
        push_id(&mut out, transaction)?;
        out.push_sql(" THEN 'free' ELSE pg_catalog.pg_xact_status(");
        push_id(&mut out, transaction)?;
        out.push_sql(
            ") END, pg_catalog.current_setting('synchronous_standby_names') OPERATOR(pg_catalog.<>) '' AND \
             pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.<>) ALL (ARRAY['local', 'off'])",
        );
        Ok(())
    }
}

impl Query for Status<'_> {
    type SqlType = (Bool, Bool, Bool, Nullable<Text>, Bool);
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
        out.push_sql(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE backend_xid \
             OPERATOR(pg_catalog.=) CAST(",
        );
        push_id(&mut out, &self.0.transaction)?;
        out.push_sql(
            " AS pg_catalog.xid) AND NOT coalesce(wait_event OPERATOR(pg_catalog.=) 'SyncRep', false)",
        );
        Ok(())
    }
}

impl Query for End<'_> {
    type SqlType = Bool;
}

fn push_id<'b>(out: &mut AstPass<'_, 'b, Pg>, transaction: &'b str) -> QueryResult<()> {
    out.push_sql("CAST(");
    out.push_bind_param::<Text, _>(transaction)?;
    out.push_sql(" AS pg_catalog.xid8)");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        same_cluster: Option<bool>,
        seen: (bool, bool, bool, Option<&str>),
        proves: impl Fn(&Answer) -> bool,
    ) {
        let (standby, timeline, incarnation, status) = seen;
        let answer = judge(same_cluster, (standby, timeline, incarnation, status.map(str::to_owned), false));
        assert!(proves(&answer), "{same_cluster:?}, {seen:?}: {answer:?}");
    }

    #[test]
    fn a_servers_word_proves_no_more_than_it_can_know() {
        let committed = |answer: &Answer| *answer == Answer::Committed;
        let rolled_back = |answer: &Answer| *answer == Answer::RolledBack;
        let undecidable = |answer: &Answer| matches!(answer, Answer::Undecidable(_));
        let later = |answer: &Answer| matches!(answer, Answer::NotYet(_));
        for known in [Some(true), None] {
            check(known, (false, true, true, Some("committed")), committed);
            check(known, (false, true, true, Some("aborted")), rolled_back);
            check(known, (false, true, true, Some("in progress")), later);
            check(known, (false, true, true, None), undecidable);
            check(known, (false, true, false, Some("committed")), undecidable);
            check(known, (false, true, false, Some("in progress")), undecidable);
        }
        for status in ["aborted", "free"] {
            check(Some(true), (false, true, false, Some(status)), rolled_back);
            check(None, (false, true, false, Some(status)), undecidable);
        }
        for status in [Some("committed"), Some("aborted"), Some("free"), Some("in progress"), None] {
            for known in [Some(true), Some(false), None] {
                check(known, (false, false, true, status), undecidable);
                check(known, (true, false, false, status), later);
            }
            check(Some(false), (false, true, true, status), undecidable);
            check(Some(false), (false, true, false, status), undecidable);
        }
    }
}
