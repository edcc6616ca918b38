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
const KEY: i64 = i64::from_be_bytes(*b"db-migra");

/// Between two attempts.
pub(crate) const POLL: Duration = Duration::from_millis(100);

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// Takes the lock if it is free.
pub(crate) async fn try_lock(conn: &mut AsyncPgConnection) -> Result<bool, MigrationError> {
    if !ask(conn, "SELECT pg_try_advisory_lock($1) AS yes").await? {
        return Ok(false);
    }
    // Behind a transaction pooler the next statement may run in a session that does not have it.
    let held = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objsubid = 1 \
                AND (classid::bigint << 32) + objid::bigint = $1) AS yes";
    if ask(conn, held).await? { Ok(true) } else { Err(MigrationError::Pooled) }
}

/// Gives the lock back. A lost connection has already done so.
pub(crate) async fn unlock(conn: &mut AsyncPgConnection) {
    if let Err(error) = ask(conn, "SELECT pg_advisory_unlock($1) AS yes").await {
        tracing::debug!(%error, "the lock goes with the connection");
    }
}

async fn ask(conn: &mut AsyncPgConnection, sql: &str) -> Result<bool, MigrationError> {
    let answer: Answer = sql_query(sql).bind::<BigInt, _>(KEY).get_result(conn).await?;
    Ok(answer.yes)
}
