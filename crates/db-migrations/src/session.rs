//! The runner's own session settings, and how each segment begins with them.
//!
//! A file may set anything, even a role that cannot write or a `search_path` that hides the ledger: none of it reaches
//! the next migration, our own tables, or the caller's next query.

use std::time::Duration;

use diesel::sql_types::{Bool, Integer};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::error::MigrationError;

/// Brings back what was set at start-up.
pub(crate) const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL";

/// A server whose client was killed notices within this time, not at the end of the statement: the lock goes with it.
const CHECK_CLIENT: &str = "SET client_connection_check_interval = '1s'";

/// What is known of the session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// `standard_conforming_strings` at the session's start.
    pub(crate) standard: bool,
    settings: String,
}

#[derive(QueryableByName)]
struct Facts {
    #[diesel(sql_type = Bool)]
    standard: bool,
    #[diesel(sql_type = Integer)]
    version: i32,
}

impl Session {
    pub(crate) async fn open(conn: &mut AsyncPgConnection) -> Result<Self, MigrationError> {
        conn.batch_execute(RESET).await?;
        let facts: Facts = sql_query(
            "SELECT current_setting('standard_conforming_strings') = 'on' AS standard, \
             current_setting('server_version_num')::int AS version",
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
        Ok(Session { standard: facts.standard, settings })
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
}
