//! One runner at a time, by a session advisory lock.
//!
//! The lock is polled for. A runner that waits inside `pg_advisory_lock()` holds a snapshot, and CREATE INDEX
//! CONCURRENTLY in the runner that has the lock waits for that snapshot: a deadlock.

use std::time::Duration;

use diesel::sql_types::{BigInt, Bool};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::error::MigrationError;

/// "db-migra" in ASCII: the key is the same for every runner of this crate.
pub(crate) const KEY: i64 = i64::from_be_bytes(*b"db-migra");

/// Whether this session has the lock whose key is `$1`.
const HELD: &str = "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
    AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND objsubid OPERATOR(pg_catalog.=) 1 AND \
    (classid::bigint OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) objid::bigint OPERATOR(pg_catalog.=) \
    $1::bigint)";

/// Between two attempts.
pub(crate) const POLL: Duration = Duration::from_millis(100);

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// Takes the lock if it is free.
pub(crate) async fn try_lock(conn: &mut AsyncPgConnection) -> Result<bool, MigrationError> {
    if !ask(conn, "SELECT pg_catalog.pg_try_advisory_lock($1) AS yes").await? {
        return Ok(false);
    }
    // Behind a transaction pooler the next statement may run in a session that does not have it.
    let held = format!("SELECT {HELD} AS yes");
    if ask(conn, &held).await? { Ok(true) } else { Err(MigrationError::Pooled) }
}

/// Gives the lock back. A lost connection has already done so.
pub(crate) async fn unlock(conn: &mut AsyncPgConnection) {
    if let Err(error) = ask(conn, "SELECT pg_catalog.pg_advisory_unlock($1) AS yes").await {
        tracing::debug!(%error, "the lock goes with the connection");
    }
}

/// Statements that fail where a migration gave the lock back: another runner may have begun.
pub(crate) fn guard() -> String {
    let held = HELD.replace("$1", &KEY.to_string());
    format!(
        "DO $guard$BEGIN IF NOT {held} THEN RAISE EXCEPTION 'the migration released the runner''s lock' \
         USING HINT = 'remove pg_advisory_unlock_all(): locks of a migration are released at its end'; END \
         IF; END$guard$"
    )
}

async fn ask(conn: &mut AsyncPgConnection, sql: &str) -> Result<bool, MigrationError> {
    let answer: Answer = sql_query(sql).bind::<BigInt, _>(KEY).get_result(conn).await?;
    Ok(answer.yes)
}
