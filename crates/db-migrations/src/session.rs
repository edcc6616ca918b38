//! The runner's own session, and how each migration and each segment begins with a clean one.
//!
//! A file may set anything, even a role that cannot write or a `search_path` that hides the ledger, and may
//! leave temporary tables, locks, cursors and prepared statements behind: none of it reaches the next
//! migration, our own tables, or the caller's next query.

use std::time::Duration;

use diesel::sql_types::{Bool, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::error::MigrationError;

/// Brings back what was set at start-up.
pub(crate) const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL";

/// The same for our own statements, which mean the server's own functions and operators.
pub(crate) const OWN: &str =
    "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; SET search_path = pg_catalog, pg_temp";

/// `DISCARD ALL` without what it would take from the runner and its caller: their locks and prepared
/// statements.
const DISCARD: &str = "CLOSE ALL; UNLISTEN *; DISCARD PLANS; DISCARD SEQUENCES; DISCARD TEMP";

/// A server whose client was killed notices within this time, not at the end of the statement: the lock goes
/// with it.
const CHECK_CLIENT: &str = "SET client_connection_check_interval = '1s'";

/// What is known of the session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// `standard_conforming_strings` at the session's start.
    pub(crate) standard: bool,
    settings: String,
    /// The advisory locks that the session had before any migration, as an array of texts: ours, and the
    /// caller's.
    kept: String,
}

#[derive(QueryableByName)]
struct Facts {
    #[diesel(sql_type = Bool)]
    standard: bool,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Text)]
    kept: String,
}

/// Rolls back what may be open, without a word where nothing is.
pub(crate) async fn roll_back(conn: &mut AsyncPgConnection) -> Result<(), diesel::result::Error> {
    // Refused in a transaction that failed, which has something to roll back.
    let _ = conn.batch_execute("SET client_min_messages = error").await;
    conn.batch_execute("ROLLBACK").await
}

/// Whether the session begins with `standard_conforming_strings`.
pub(crate) async fn standard_strings(conn: &mut AsyncPgConnection) -> Result<bool, MigrationError> {
    #[derive(QueryableByName)]
    struct Standard {
        #[diesel(sql_type = Bool)]
        standard: bool,
    }
    let asked = sql_query(
        "SELECT pg_catalog.current_setting('standard_conforming_strings') OPERATOR(pg_catalog.=) 'on' AS standard",
    );
    let Standard { standard } = asked.get_result(conn).await?;
    Ok(standard)
}

impl Session {
    pub(crate) async fn open(conn: &mut AsyncPgConnection) -> Result<Self, MigrationError> {
        conn.batch_execute(OWN).await?;
        let facts: Facts = sql_query(
            "SELECT current_setting('standard_conforming_strings') = 'on' AS standard, \
             current_setting('server_version_num')::int AS version, \
             ARRAY(SELECT concat_ws(' ', classid, objid, objsubid, mode) FROM pg_locks \
             WHERE locktype = 'advisory' AND pid = pg_backend_pid())::text AS kept",
        )
        .get_result(conn)
        .await?;
        let mut settings =
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0".to_owned();
        if facts.version >= 170_000 {
            settings.push_str("; SET transaction_timeout = 0");
        }
        // Not every system that PostgreSQL runs on can do it.
        if conn.batch_execute(CHECK_CLIENT).await.is_ok() {
            settings = format!("{settings}; {CHECK_CLIENT}");
        }
        let session = Session { standard: facts.standard, settings, kept: facts.kept };
        session.clean(conn).await?;
        Ok(session)
    }

    /// Makes the session as each segment finds it.
    pub(crate) async fn begin(
        &self,
        conn: &mut AsyncPgConnection,
        lock_timeout: Duration,
    ) -> Result<(), diesel::result::Error> {
        let milliseconds = lock_timeout.as_millis().max(1);
        conn.batch_execute(&format!("{RESET}; {}; SET lock_timeout = {milliseconds}", self.settings)).await
    }

    /// Makes the session as a new one, with the locks that it had at first.
    pub(crate) async fn clean(&self, conn: &mut AsyncPgConnection) -> Result<(), diesel::result::Error> {
        conn.batch_execute(&self.clean_sql()).await
    }

    /// What [`Session::clean`] runs: also in place of `DISCARD ALL`, which would release the runner's lock.
    pub(crate) fn clean_sql(&self) -> String {
        // Prepared statements of the driver stay: it would not know that they are gone.
        let kept = self.kept.replace('\'', "''");
        format!(
            "{OWN}; SET client_min_messages = error; {DISCARD}; DO $clean$
DECLARE one record;
BEGIN
    FOR one IN SELECT name FROM pg_prepared_statements WHERE from_sql LOOP
        EXECUTE format('DEALLOCATE %I', one.name);
    END LOOP;
    FOR one IN
        SELECT (classid::bigint << 32) | objid::bigint AS key, classid::bigint::bit(32)::int AS class,
            objid::bigint::bit(32)::int AS object, objsubid = 2 AS pair, mode = 'ShareLock' AS shared
        FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
            AND concat_ws(' ', classid, objid, objsubid, mode) <> ALL ('{kept}'::text[])
    LOOP
        -- A lock that was taken several times is released as often.
        WHILE CASE
            WHEN one.pair AND one.shared THEN pg_advisory_unlock_shared(one.class, one.object)
            WHEN one.pair THEN pg_advisory_unlock(one.class, one.object)
            WHEN one.shared THEN pg_advisory_unlock_shared(one.key)
            ELSE pg_advisory_unlock(one.key)
        END LOOP END LOOP;
    END LOOP;
END
$clean$; RESET ALL"
        )
    }
}
