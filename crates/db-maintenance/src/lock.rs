//! One leader: a session's advisory lock that is tried and never waited for.
//!
//! A maintainer that waited inside `pg_advisory_lock()` would hold a snapshot, and what the leader does
//! concurrently would wait for it.

use tokio_postgres::Client;

use crate::error::{MaintenanceError, Result};

/// "db-maint" in ASCII: the key is the same for every maintainer of this crate.
const KEY: i64 = i64::from_be_bytes(*b"db-maint");

const TRY: &str = "SELECT pg_catalog.pg_try_advisory_lock($1)";

/// Behind a pooler that shares sessions the next statement may run in a session that does not have the lock.
const HELD: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE \
    locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND objsubid OPERATOR(pg_catalog.=) 1 AND \
    (classid::bigint OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) objid::bigint OPERATOR(pg_catalog.=) \
    $1::bigint)";

/// The right to change the schema of one database, which one session has at a time.
///
/// ```no_run
/// # async fn lead(client: &tokio_postgres::Client) -> db_maintenance::Result<()> {
/// use db_maintenance::Leader;
///
/// let Some(leader) = Leader::try_become(client).await? else { return Ok(()) };
/// // Upkeep.
/// leader.resign(client).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Leader(());

impl Leader {
    /// Takes the lock if it is free; none means that another session has it.
    ///
    /// # Errors
    /// [`MaintenanceError::Refused`] behind a pooler that shares sessions, and what the server says.
    pub async fn try_become(client: &Client) -> Result<Option<Leader>> {
        if !client.query_one(TRY, &[&KEY]).await?.try_get::<_, bool>(0)? {
            return Ok(None);
        }
        if client.query_one(HELD, &[&KEY]).await?.try_get(0)? {
            return Ok(Some(Leader(())));
        }
        Err(MaintenanceError::refused(
            "upkeep",
            "a pooler shares sessions, so a lock is nobody's: set DATABASE_DIRECT_URL to the server",
        ))
    }

    /// Gives the lock back. A lost connection has already done so.
    pub async fn resign(self, client: &Client) {
        if let Err(error) = client.query("SELECT pg_catalog.pg_advisory_unlock($1)", &[&KEY]).await {
            tracing::debug!(%error, "the lock goes with the connection");
        }
    }
}
