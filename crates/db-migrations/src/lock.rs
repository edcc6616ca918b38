//! One runner at a time, by a session advisory lock.
//!
//! The lock is polled for. A runner that waits inside `pg_advisory_lock()` holds a snapshot, and CREATE INDEX
//! CONCURRENTLY in the runner that has the lock waits for that snapshot: a deadlock.

use std::time::{Duration, Instant};

use diesel::sql_types::{BigInt, Bool};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::error::MigrationError;

/// "db-migra" in ASCII: the key is the same for every runner of this crate.
const KEY: i64 = i64::from_be_bytes(*b"db-migra");

const POLL: Duration = Duration::from_millis(100);

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// Waits for the lock.
pub(crate) async fn lock(conn: &mut AsyncPgConnection, patience: Duration) -> Result<(), MigrationError> {
    let started = Instant::now();
    let mut told = false;
    while !ask(conn, "SELECT pg_try_advisory_lock($1) AS yes").await? {
        if started.elapsed() >= patience {
            return Err(MigrationError::Locked { waited: patience });
        }
        if !told {
            tracing::info!("another runner is migrating this database, waiting for it");
            told = true;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
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
