//! The maintainer's session: pinned so that no other role's objects are found by accident, and patient only
//! within bounds.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::error::{MaintenanceError, Result};
use crate::name::identifier;

/// How long a step waits for a lock, and how often it tries again.
///
/// While a step waits, every statement that comes after it waits behind it. So each attempt is short, and the
/// pause between two lets the queue drain.
///
/// ```
/// use std::time::Duration;
/// use db_maintenance::Patience;
///
/// let at_night = Patience { attempts: 200, ..Patience::default() };
/// assert_eq!(at_night.lock_timeout, Duration::from_millis(40));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt waits for its locks; others wait no longer behind it. At most an hour.
    pub lock_timeout: Duration,
    /// The pause between two attempts. At most an hour.
    pub pause: Duration,
    /// How often a step is tried before it is left to the next run.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { lock_timeout: Duration::from_millis(40), pause: Duration::from_millis(400), attempts: 50 }
    }
}

/// A query that answers true where all is as it was planned.
///
/// Names are looked up again by each statement, so a step looks at the numbers of what it changed before it
/// commits.
///
/// ```
/// let check = db_maintenance::Check {
///     sql: "SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = 1)".to_owned(),
///     otherwise: "the name means another table now".to_owned(),
/// };
/// # let _ = check;
/// ```
#[derive(Debug, Clone)]
pub struct Check {
    /// The query: one row with one boolean.
    pub sql: String,
    /// What is said where it is false.
    pub otherwise: String,
}

/// A session in which names mean the server's own objects, times are UTC, and no policy of row security is
/// evaluated.
#[derive(Debug)]
pub struct Session<'c> {
    client: &'c mut Client,
    /// The version of the server, as in 150004.
    pub version: i32,
    /// Who logged in.
    pub user: String,
    /// Whether that role is a superuser.
    pub is_superuser: bool,
    patience: Patience,
    /// Who waits for longer may make the application the victim of a deadlock: it looks for one after
    /// `deadlock_timeout`.
    longest_wait: Duration,
}

/// A server whose client was killed notices within this time, not at the end of the statement: locks go with
/// it.
const CHECK_CLIENT: &str = "SET client_connection_check_interval = '1s'";

/// Of two who wait for each other, the first to look for a deadlock is cancelled: that is to be upkeep.
const LOOK_FIRST: &str = "SET deadlock_timeout = '10ms'";

/// Whoever began to wait for us after we did looks for a deadlock after we have given up.
const SHARE_OF_DEADLOCK_TIMEOUT: f64 = 0.8;

/// Since 15 a role may be granted the right to set it.
const MAY_LOOK_FIRST: &str = "SELECT pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET')";

/// `row_security` off makes a query fail where a policy would be evaluated, which is somebody's SQL.
const PIN: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; SET search_path = pg_catalog, \
    pg_temp; \
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = \
    'hex'; \
    SET extra_float_digits = 1; SET standard_conforming_strings = on; SET row_security = off; \
    SET synchronize_seqscans = off; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = \
    '60s'; \
    SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; \
    SET default_tablespace = ''; SET default_table_access_method = 'heap'; SET check_function_bodies = off; \
    SET lock_timeout = 0";

impl<'c> Session<'c> {
    /// Pins a connection that nobody else uses meanwhile.
    ///
    /// # Errors
    /// What the server says.
    pub async fn pin(client: &'c mut Client, patience: Patience) -> Result<Self> {
        client.batch_execute(PIN).await?;
        // Not every system that PostgreSQL runs on can do it.
        if let Err(error) = client.batch_execute(CHECK_CLIENT).await {
            tracing::debug!(%error, "the server notices a lost client at the end of its statement");
        }
        let row = client
            .query_one(
                "SELECT pg_catalog.current_setting('server_version_num')::int, session_user::text, \
                 r.rolsuper, (SELECT s.setting::int FROM pg_catalog.pg_settings s WHERE s.name = \
                 'deadlock_timeout') FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) \
                 session_user",
                &[],
            )
            .await?;
        let (version, user, is_superuser): (i32, _, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let deadlock_timeout: i32 = row.try_get(3)?;
        let deadlock_timeout = Duration::from_millis(u64::from(deadlock_timeout.unsigned_abs()));
        let may_look_first = match version {
            _ if is_superuser => true,
            150_000.. => client.query_one(MAY_LOOK_FIRST, &[]).await?.try_get(0)?,
            _ => false,
        };
        if may_look_first {
            client.batch_execute(LOOK_FIRST).await?;
        }
        let longest_wait = deadlock_timeout.mul_f64(SHARE_OF_DEADLOCK_TIMEOUT);
        Ok(Session { client, version, user, is_superuser, patience, longest_wait })
    }

    /// The connection itself.
    pub fn client(&mut self) -> &mut Client {
        self.client
    }

    /// How long steps wait.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Runs a step as one transaction of `role`: again after a lock that was not to be had or a deadlock,
    /// within the session's [`Patience`].
    ///
    /// `check` is asked last, inside the transaction: what is not so undoes the step.
    ///
    /// # Errors
    /// [`MaintenanceError::Busy`] when no attempt got its locks, what `check` found, and what the server
    /// says.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the transaction open: close the connection.
    pub async fn step(
        &mut self,
        what: &str,
        role: Option<&str>,
        statements: &[String],
        check: Option<&Check>,
    ) -> Result<()> {
        let Patience { lock_timeout, pause, attempts } = self.patience;
        let mut begin = format!("BEGIN; SET LOCAL lock_timeout = {}", millis(lock_timeout));
        if let Some(role) = role {
            begin = format!("{begin}; SET LOCAL ROLE {}", identifier(role));
        }
        for attempt in 1..=attempts.max(1) {
            match self.attempt(&begin, what, statements, check).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if !error.is_disconnected() {
                        self.client.batch_execute("ROLLBACK").await?;
                    }
                    if !is_conflict(&error) {
                        return Err(error);
                    }
                    tracing::debug!(what, attempt, "the lock was not to be had");
                }
            }
            if attempt < attempts {
                sleep(pause).await;
            }
        }
        Err(MaintenanceError::Busy { what: what.to_owned(), waited: lock_timeout, attempts: attempts.max(1) })
    }

    /// As [`Session::step`], for what locks a table exclusively: `locks` takes the lock, and `statements` go
    /// to the server in one message while it is held. Answers how long that was at most, over all attempts.
    ///
    /// # Errors
    /// As [`Session::step`].
    ///
    /// # Cancel safety
    /// As [`Session::step`].
    pub async fn exclusive_step(
        &mut self,
        what: &str,
        role: &str,
        locks: &str,
        statements: &str,
        check: &Check,
    ) -> Result<Duration> {
        let Patience { lock_timeout, pause, attempts } = self.patience;
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL ROLE {}; {locks}",
            millis(lock_timeout),
            identifier(role)
        );
        let statements = [statements.to_owned()];
        let mut longest = Duration::ZERO;
        for attempt in 1..=attempts.max(1) {
            let locked = self.client.batch_execute(&begin).await.map_err(MaintenanceError::step(what));
            let since = Instant::now();
            let done = match locked {
                Ok(()) => {
                    let done = self.attempt("", what, &statements, Some(check)).await;
                    longest = longest.max(since.elapsed());
                    done
                }
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => return Ok(longest),
                Err(error) => {
                    if !error.is_disconnected() {
                        self.client.batch_execute("ROLLBACK").await?;
                    }
                    if !is_conflict(&error) {
                        return Err(error);
                    }
                }
            }
            if attempt < attempts {
                sleep(pause).await;
            }
        }
        Err(MaintenanceError::Busy { what: what.to_owned(), waited: lock_timeout, attempts: attempts.max(1) })
    }

    async fn attempt(
        &mut self,
        begin: &str,
        what: &str,
        statements: &[String],
        check: Option<&Check>,
    ) -> Result<()> {
        if !begin.is_empty() {
            self.client.batch_execute(begin).await.map_err(MaintenanceError::step(what))?;
        }
        for statement in statements {
            self.client.batch_execute(statement).await.map_err(MaintenanceError::step(what))?;
        }
        if let Some(check) = check {
            self.verify(what, check).await?;
        }
        self.client.batch_execute("COMMIT").await.map_err(MaintenanceError::step(what))
    }

    /// Fails unless the check answers true.
    ///
    /// # Errors
    /// [`MaintenanceError::Changed`], and what the server says.
    pub async fn verify(&mut self, what: &str, check: &Check) -> Result<()> {
        let row = self.client.query_one(&check.sql, &[]).await.map_err(MaintenanceError::step(what))?;
        if row.try_get(0)? { Ok(()) } else { Err(MaintenanceError::changed(what, &check.otherwise)) }
    }

    /// Runs one statement that cannot be in a transaction, as `role`, waiting for locks and snapshots for at
    /// most `waits`, and for less where the server looks for deadlocks sooner: of an application and of
    /// upkeep that wait for each other, it is upkeep that gives up.
    ///
    /// # Errors
    /// What the server says.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the role set: close the connection.
    pub async fn alone(
        &mut self,
        what: &str,
        role: Option<&str>,
        statement: &str,
        waits: Duration,
    ) -> Result<()> {
        self.at_length(what, role, statement, waits.min(self.longest_wait)).await
    }

    /// As [`Session::alone`], for what is in vain where it gives up: it waits as long as it is told.
    pub(crate) async fn at_length(
        &mut self,
        what: &str,
        role: Option<&str>,
        statement: &str,
        waits: Duration,
    ) -> Result<()> {
        let mut before = format!("SET lock_timeout = {}", millis(waits));
        if let Some(role) = role {
            before = format!("{before}; SET ROLE {}", identifier(role));
        }
        self.client.batch_execute(&before).await.map_err(MaintenanceError::step(what))?;
        let done = self.client.batch_execute(statement).await.map_err(MaintenanceError::step(what));
        if !self.client.is_closed() {
            self.client.batch_execute("RESET ROLE; SET lock_timeout = 0").await?;
        }
        done
    }

    /// The first row of a query, asked as `role` in a transaction that only reads; none where there is none.
    ///
    /// # Errors
    /// What the server says, after half a minute that it was too long.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the transaction open: close the connection.
    pub async fn look(&mut self, role: &str, sql: &str) -> Result<Option<Row>> {
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '1s'; SET \
             LOCAL ROLE {}",
            identifier(role)
        );
        self.client.batch_execute(&begin).await?;
        let seen = self.client.query(sql, &[]).await;
        if !self.client.is_closed() {
            self.client.batch_execute("ROLLBACK").await?;
        }
        Ok(seen?.into_iter().next())
    }

    /// Fails unless this session may act as the owner of `table`, and the owner is one whose SQL may run
    /// here.
    ///
    /// A superuser that worked on any role's tables would run that role's functions with all rights. So it
    /// works on its own tables, those of superusers, and those of the roles in `trusted`.
    ///
    /// # Errors
    /// [`MaintenanceError::Refused`] with the way out, and what the server says.
    pub async fn may_act_as(&mut self, owner: &str, what: &str, trusted: &[String]) -> Result<()> {
        if owner == self.user {
            return Ok(());
        }
        let row = self
            .client
            .query_one(
                "SELECT pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER'), r.rolsuper \
                 FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) $1::text::name",
                &[&owner],
            )
            .await?;
        let (is_member, owner_is_superuser): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        if !is_member {
            let (owned, user) = (identifier(owner), identifier(&self.user));
            let why = format!("it belongs to {owner}: GRANT {owned} TO {user}");
            return Err(MaintenanceError::refused(what, why));
        }
        if self.is_superuser && !owner_is_superuser && !trusted.iter().any(|known| known == owner) {
            let why = format!(
                "it belongs to {owner}, and a superuser would run that role's functions: log in as a role \
                 that is \
                 a member of {owner}, or name it in trusted_owners"
            );
            return Err(MaintenanceError::refused(what, why));
        }
        Ok(())
    }
}

/// Milliseconds for a setting that takes them; at most an hour, at least one, because 0 is for ever.
pub(crate) fn millis(time: Duration) -> u128 {
    time.as_millis().clamp(1, 3_600_000)
}

/// Whether the step may succeed at once or soon: somebody else was in the way.
pub(crate) fn is_conflict(error: &MaintenanceError) -> bool {
    let MaintenanceError::Step { source, .. } = error else { return false };
    let in_the_way = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::OBJECT_IN_USE,
    ];
    source.code().is_some_and(|code| in_the_way.contains(code))
}
