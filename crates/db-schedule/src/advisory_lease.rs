//! One host at a time for jobs on a database: a session's advisory try-lock, which goes with its connection.
//!
//! A lock alone runs a short job twice: the next host's clock is late, and the lock is free again. So the
//! lock is kept for a while after a short run, as ShedLock's `lockAtLeastFor` does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use db_core::OpenDirect;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::time::{Instant, interval, sleep_until};

use crate::{BoxError, BoxFuture, Claim, Hold, Lease};

/// A connection that is gone is noticed this soon.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Lets one host run a job on a database, by an advisory lock of the primary, on a connection of its own.
///
/// The lock's key is made of the job's name, so two jobs do not wait for each other. When the connection is
/// lost, the lock is free, and the run is cancelled here. It does not work behind a pooler that shares
/// sessions: name the server itself in `DATABASE_DIRECT_URL`.
///
/// ```
/// use std::sync::Arc;
/// use db_core::OpenDirect;
/// use db_schedule::{AdvisoryLease, Cron, InvalidCron, Job};
///
/// fn nightly(open: OpenDirect) -> Result<Job, InvalidCron> {
///     let job = Job::new("vacuum", Cron::parse("30 3 * * *", "UTC")?, |_| async { Ok(String::new()) });
///     Ok(job.lease(Arc::new(AdvisoryLease::new(open))))
/// }
/// ```
pub struct AdvisoryLease {
    open: OpenDirect,
    at_least: Duration,
}

struct Held {
    conn: Option<AsyncPgConnection>,
    key: i64,
    until: Instant,
}

#[derive(QueryableByName)]
struct Tried {
    #[diesel(sql_type = Bool)]
    locked: bool,
    #[diesel(sql_type = Bool)]
    held: bool,
    #[diesel(sql_type = Nullable<Text>)]
    holder: Option<String>,
}

/// Whether this session has the lock now, and who has it where it has not.
const TRY: &str = "WITH tried AS MATERIALIZED (SELECT pg_catalog.pg_try_advisory_lock($1) AS locked), \
    locks AS MATERIALIZED (SELECT l.pid FROM tried, pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
      AND l.objsubid OPERATOR(pg_catalog.=) 1 AND l.granted AND l.database OPERATOR(pg_catalog.=) \
      (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
      AND (l.classid::bigint OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) l.objid::bigint OPERATOR(pg_catalog.=) $1) \
    SELECT tried.locked, \
      EXISTS (SELECT FROM locks WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) AS held, \
      (SELECT pg_catalog.concat_ws(' ', coalesce(a.application_name, ''), 'from', \
         coalesce(a.client_hostname, pg_catalog.host(a.client_addr), 'this server''s host'), \
         pg_catalog.format('(pid %s)', locks.pid), 'has it since', \
         pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) \
       FROM locks LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) locks.pid LIMIT 1) AS holder \
    FROM tried";

impl AdvisoryLease {
    /// A lease on the primary that this leads to: db-platform's `&Config` does.
    pub fn new(to: impl Into<OpenDirect>) -> Self {
        AdvisoryLease { open: to.into(), at_least: Duration::from_secs(30) }
    }

    /// Keeps the lock for at least so long after it was taken, 30 s unless said: longer than two hosts'
    /// clocks differ.
    #[must_use]
    pub fn hold_at_least(mut self, at_least: Duration) -> Self {
        self.at_least = at_least;
        self
    }

    async fn take(&self, job: &str) -> Result<Claim, BoxError> {
        let (_, mut conn) = (self.open)(None).await?;
        let key = key(job);
        let tried: Tried = sql_query(TRY).bind::<BigInt, _>(key).get_result(&mut conn).await?;
        if tried.locked && !tried.held {
            return Err(
                "a pooler shares sessions, so a lock is nobody's: set DATABASE_DIRECT_URL to the server"
                    .into(),
            );
        }
        if !tried.locked {
            let holder = tried.holder.unwrap_or_else(|| "another session has it".to_owned());
            return Ok(Claim::Busy { why: format!("the lock of {job} is taken: {holder}") });
        }
        let now = Instant::now();
        let until = now.checked_add(self.at_least).unwrap_or(now);
        Ok(Claim::Held(Box::new(Held { conn: Some(conn), key, until })))
    }
}

impl Lease for AdvisoryLease {
    fn try_take<'a>(&'a self, job: &'a str, _: DateTime<Utc>) -> BoxFuture<'a, Result<Claim, BoxError>> {
        Box::pin(self.take(job))
    }
}

impl Hold for Held {
    fn lost(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            let mut looks = interval(SIGN_OF_LIFE);
            loop {
                looks.tick().await;
                let Some(conn) = &mut self.conn else { return "it was given back".to_owned() };
                if let Err(error) = sql_query("SELECT").execute(conn).await {
                    return format!("its connection is gone: {error}");
                }
            }
        })
    }

    fn release(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Some(mut conn) = self.conn.take() else { return };
            // Not awaited: the job is done, and only the next host is to wait.
            tokio::spawn(async move {
                sleep_until(self.until).await;
                let unlock =
                    sql_query("SELECT pg_catalog.pg_advisory_unlock($1)").bind::<BigInt, _>(self.key);
                if let Err(error) = unlock.execute(&mut conn).await {
                    tracing::debug!(%error, "the lock goes with the connection");
                }
            });
        })
    }
}

/// A key of the job's name: FNV-1a, which stays the same between versions.
fn key(job: &str) -> i64 {
    let bytes = "db-schedule ".bytes().chain(job.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_stay_the_same_and_differ() {
        assert_eq!(key("backup"), key("backup"));
        assert_ne!(key("backup"), key("verify"));
        assert_eq!(key(""), 0xc905_2ee5_fcd2_6d5d_u64.cast_signed());
    }
}
