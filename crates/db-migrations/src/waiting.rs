//! Says for whom the runner waits, while it waits: whoever sees nothing for minutes ends it, or the wrong
//! session.
//!
//! The runner's own connection is busy with the statement that waits, so another one is asked. Sources: the
//! PostgreSQL manual, `pg_blocking_pids`, `pg_stat_activity`, `pg_stat_progress_create_index`.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use db_statement::normalize;
use diesel::sql_types::{Bool, Double, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::time::Instant;

use crate::direct::Second;
use crate::progress::{self, Progress};

/// Whoever waits shorter need not know.
pub(crate) const QUIET: Duration = Duration::from_millis(700);

/// Between two words.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// From when on somebody looks: what is seen early can be said in time.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// Between two looks: the runner waits for a tenth of a second at a time.
const LOOK: Duration = Duration::from_millis(25);

/// Between two looks once it was told.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Between two looks at a statement that works and does not wait.
const LOOK_AT_WORK: Duration = Duration::from_millis(250);

/// How long a statement works before it is looked at less often.
const AT_WORK: Duration = Duration::from_secs(2);

/// From when on it is told how far a statement is, and how often.
const REPORT_FROM: Duration = Duration::from_secs(5);
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What the session `$1` does. `pg_blocking_pids` is dear, so it is asked only for one that waits.
const DOES: &str = "SELECT coalesce(state OPERATOR(pg_catalog.=) 'idle', false) AS pauses, coalesce(wait_event_type \
    OPERATOR(pg_catalog.=) 'Lock', false) AS waits FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) $1";

/// Who blocks the session `$1`: with a lock that it wants, or as one whose end CREATE INDEX CONCURRENTLY
/// waits for.
const BLOCKERS: &str = "SELECT a.pid, a.application_name AS application, a.usename::pg_catalog.text AS role, a.state, \
    a.query, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) \
    coalesce(a.xact_start, a.state_change, a.backend_start)) AS since FROM pg_catalog.pg_stat_activity AS a WHERE a.pid \
    OPERATOR(pg_catalog.=) ANY (pg_catalog.pg_blocking_pids($1)) OR a.pid OPERATOR(pg_catalog.=) ANY (SELECT \
    p.current_locker_pid::pg_catalog.int4 FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.pid \
    OPERATOR(pg_catalog.=) $1) ORDER BY since DESC NULLS LAST LIMIT 5";

/// Who has the advisory lock of the runners.
const RUNNERS: &str = "SELECT a.pid, a.application_name AS application, a.usename::pg_catalog.text AS role, a.state, \
    a.query, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) \
    coalesce(a.xact_start, a.state_change, a.backend_start)) AS since FROM pg_catalog.pg_locks AS l JOIN \
    pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid WHERE l.locktype OPERATOR(pg_catalog.=) \
    'advisory' AND l.granted AND l.objsubid OPERATOR(pg_catalog.=) 1 AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid \
    FROM pg_catalog.pg_database AS d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AND \
    ((l.classid::bigint OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) l.objid::bigint) OPERATOR(pg_catalog.=) $1";

/// A session that others wait for.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub(crate) struct Blocker {
    #[diesel(sql_type = Integer)]
    pid: i32,
    #[diesel(sql_type = Nullable<Text>)]
    application: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    role: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    query: Option<String>,
    #[diesel(sql_type = Nullable<Double>)]
    since: Option<f64>,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(application) = said(&self.application) {
            write!(f, " ({application})")?;
        }
        if let Some(role) = said(&self.role) {
            write!(f, " of {role}")?;
        }
        if let Some(state) = said(&self.state) {
            write!(f, ", {state}")?;
        }
        if let Some(since) = self.since {
            write!(f, " for {:.0} s", since.max(0.0))?;
        }
        if let Some(query) = said(&self.query) {
            // Without its constants: they may be anybody's.
            let shape: String = normalize(&query).chars().take(80).collect();
            write!(f, ": {shape}")?;
        }
        Ok(())
    }
}

/// What waits, for the words that are said.
pub(crate) struct Waits<'a> {
    pub(crate) second: Option<&'a Second>,
    /// The backend of the runner's connection.
    pub(crate) pid: i32,
    /// What its statement is, as people know it.
    pub(crate) what: String,
    /// Who is told how far a long statement is.
    pub(crate) progress: Option<&'a OnProgress>,
}

/// Hears how far a long statement is.
#[derive(Clone)]
pub(crate) struct OnProgress(pub(crate) Arc<dyn Fn(&Progress) + Send + Sync>);

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

impl Waits<'_> {
    /// Tells for whom it waits, until it is dropped.
    pub(crate) async fn tell(&self) -> Infallible {
        let started = Instant::now();
        tokio::time::sleep(FIRST_LOOK).await;
        let opened = match self.second {
            Some(second) => second.open().await.ok(),
            None => None,
        };
        // Without another connection nobody can be asked.
        let Some(mut conn) = opened else { return std::future::pending().await };
        let (mut told, mut reported) = (None::<Instant>, None::<Instant>);
        let (mut blockers, mut waited) = (Vec::new(), started);
        loop {
            let Ok(does) = does(&mut conn, self.pid).await else { return std::future::pending().await };
            if does.waits {
                let Ok(now) = blockers_of(&mut conn, self.pid).await else {
                    return std::future::pending().await;
                };
                if !now.is_empty() {
                    (blockers, waited) = (now, Instant::now());
                }
            } else if !does.pauses {
                // Between two attempts it still waits; at work it does not.
                blockers.clear();
            }
            let is_due = told.map_or(started.elapsed() >= QUIET, |told| told.elapsed() >= EVERY);
            if !blockers.is_empty() && is_due {
                tracing::warn!(
                    "{} has waited for {:.1} s, now for {}",
                    self.what,
                    started.elapsed().as_secs_f64(),
                    list(&blockers)
                );
                told = Some(Instant::now());
            }
            if let Some(on_progress) = self.progress
                && !does.waits
                && !does.pauses
                && reported.map_or(started.elapsed() >= REPORT_FROM, |last| last.elapsed() >= REPORT_EVERY)
            {
                let place = (self.what.as_str(), started.elapsed().as_secs_f64());
                let Ok(progress) = progress::of(&mut conn, self.pid, place).await else {
                    return std::future::pending().await;
                };
                (on_progress.0)(&progress);
                reported = Some(Instant::now());
            }
            let pause = match told {
                _ if blockers.is_empty() && waited.elapsed() >= AT_WORK => LOOK_AT_WORK,
                Some(_) => LOOK_AGAIN,
                None => LOOK,
            };
            tokio::time::sleep(pause).await;
        }
    }
}

#[derive(Default, QueryableByName)]
struct Does {
    #[diesel(sql_type = Bool)]
    pauses: bool,
    #[diesel(sql_type = Bool)]
    waits: bool,
}

async fn does(conn: &mut AsyncPgConnection, pid: i32) -> diesel::QueryResult<Does> {
    let rows: Vec<Does> = sql_query(DOES).bind::<Integer, _>(pid).get_results(conn).await?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

async fn blockers_of(conn: &mut AsyncPgConnection, pid: i32) -> diesel::QueryResult<Vec<Blocker>> {
    sql_query(BLOCKERS).bind::<Integer, _>(pid).get_results(conn).await
}

/// The runners that have the lock with this key.
pub(crate) async fn runners(conn: &mut AsyncPgConnection, key: i64) -> diesel::QueryResult<Vec<Blocker>> {
    sql_query(RUNNERS).bind::<diesel::sql_types::BigInt, _>(key).get_results(conn).await
}

pub(crate) fn list(blockers: &[Blocker]) -> String {
    let each: Vec<String> = blockers.iter().map(Blocker::to_string).collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocker_is_named_without_the_constants_of_its_query() {
        let blocker = Blocker {
            pid: 7,
            application: Some("billing".to_owned()),
            role: Some("app".to_owned()),
            state: Some("idle in transaction".to_owned()),
            query: Some("UPDATE users SET password = 'hunter2' WHERE id = 7".to_owned()),
            since: Some(61.4),
        };
        let said = blocker.to_string();
        assert!(
            said.starts_with("pid 7 (billing) of app, idle in transaction for 61 s: update users"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}
