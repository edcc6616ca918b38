//! Says for whom the runner waits, while it waits: whoever sees nothing for minutes ends it, or the wrong session.
//!
//! The runner's own connection is busy with the statement that waits, so another one is asked. Sources: the PostgreSQL
//! manual, `pg_blocking_pids`, `pg_stat_activity`, `pg_stat_progress_create_index`.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use db_statement::normalize;
use diesel::sql_types::{Double, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::time::Instant;

use crate::direct::Second;

/// Whoever waits shorter need not know.
pub(crate) const QUIET: Duration = Duration::from_millis(700);

/// Between two words.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// Between two looks: the runner waits for a tenth of a second at a time.
const LOOK: Duration = Duration::from_millis(25);

/// Between two looks once it was told.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Who blocks the session `$1`: with a lock that it wants, or as one whose end CREATE INDEX CONCURRENTLY waits for.
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
}

impl Waits<'_> {
    /// Tells for whom it waits, until it is dropped.
    pub(crate) async fn tell(&self) -> Infallible {
        let started = Instant::now();
        tokio::time::sleep(QUIET).await;
        let opened = match self.second {
            Some(second) => second.open().await.ok(),
            None => None,
        };
        // Without another connection nobody can be asked.
        let Some(mut conn) = opened else { return std::future::pending().await };
        let mut told: Option<Instant> = None;
        loop {
            let Ok(blockers) = blockers_of(&mut conn, self.pid).await else {
                return std::future::pending().await;
            };
            if !blockers.is_empty() && told.is_none_or(|told| told.elapsed() >= EVERY) {
                tracing::warn!(
                    "{} has waited for {:.1} s, now for {}",
                    self.what,
                    started.elapsed().as_secs_f64(),
                    list(&blockers)
                );
                told = Some(Instant::now());
            }
            tokio::time::sleep(if told.is_some() { LOOK_AGAIN } else { LOOK }).await;
        }
    }
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
