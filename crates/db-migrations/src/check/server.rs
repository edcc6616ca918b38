//! The databases that a check makes, copies and drops on a server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::base::{self, Base};
use super::error::CheckError;

/// A server on which a check may make databases.
///
/// The check makes databases whose names begin with `db_migrations_check_`, and drops them; it changes no
/// other. What a migration does to the whole server (roles, tablespaces) it does here too: a throw-away
/// server is best.
pub trait Databases: Send + Sync {
    /// Opens a connection to one of its databases, as a user who may create databases.
    ///
    /// # Errors
    /// Why the server cannot be reached.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt.
    fn connect(&self, database: &str) -> impl Future<Output = db_core::Result<AsyncPgConnection>> + Send;
}

/// The database that exists on every server, from which others are made.
const MAINTENANCE: &str = "postgres";

/// How every session of a check is set: parallel workers would hide what they read from the counters of the
/// session.
const SESSION: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD \
    SEQUENCES; DISCARD TEMP; SET client_min_messages = 'warning'; SET jit = off; SET \
    max_parallel_workers_per_gather = 0; SET max_parallel_maintenance_workers = 0; SET \
    idle_in_transaction_session_timeout = 0; SET lock_timeout = '60s'";

/// A closed connection leaves its database only when the server notices.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// The databases of one check.
pub(crate) struct Scratch<'s, S> {
    server: &'s S,
    admin: AsyncPgConnection,
    prefix: String,
    made: u32,
    statement_timeout: Duration,
}

impl<'s, S: Databases> Scratch<'s, S> {
    pub(crate) async fn open(server: &'s S, statement_timeout: Duration) -> Result<Self, CheckError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let admin = server.connect(MAINTENANCE).await.map_err(CheckError::server("reach the server"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let prefix = format!(
            "db_migrations_check_{}_{:x}_{}",
            std::process::id(),
            now.as_millis(),
            AtomicU32::fetch_add(&COUNT, 1, Ordering::Relaxed)
        );
        Ok(Scratch { server, admin, prefix, made: 0, statement_timeout })
    }

    /// A new database, empty or a copy; nobody may be connected to the original.
    pub(crate) async fn create(&mut self, copy_of: Option<&str>) -> Result<String, CheckError> {
        self.made += 1;
        let name = format!("{}_{}", self.prefix, self.made);
        if let Some(original) = copy_of {
            self.wait_until_left(original).await?;
        }
        let create = format!("CREATE DATABASE {name} TEMPLATE {}", copy_of.unwrap_or("template0"));
        let created = self.admin.batch_execute(&create).await;
        created.map_err(|error| CheckError::server("make a database for the check")(error.into()))?;
        Ok(name)
    }

    /// Whether there is such a base; it counts as used now.
    pub(super) async fn has_base(&mut self, base: &Base) -> Result<bool, CheckError> {
        #[derive(QueryableByName)]
        struct There {
            #[diesel(sql_type = diesel::sql_types::Bool)]
            there: bool,
        }
        let asked =
            sql_query("SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1) AS there");
        let There { there } = asked.bind::<Text, _>(base.name()).get_result(&mut self.admin).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let used = format!("COMMENT ON DATABASE {} IS 'used at {now:012}'", base.name());
        // Where somebody is about to drop it, what it holds is applied.
        Ok(there && self.admin.batch_execute(&used).await.is_ok())
    }

    /// Keeps a copy of a database as a base, and drops those that were not used for longest.
    pub(super) async fn keep_base(&mut self, base: &Base, database: &str) -> Result<(), CheckError> {
        #[derive(QueryableByName)]
        struct Old {
            #[diesel(sql_type = Text)]
            name: String,
        }
        self.wait_until_left(database).await?;
        let create = format!("CREATE DATABASE {} ALLOW_CONNECTIONS false TEMPLATE {database}", base.name());
        // Another check may have made the same one meanwhile.
        let _ = self.admin.batch_execute(&create).await;
        self.has_base(base).await?;
        let old: Vec<Old> = sql_query(format!(
            "SELECT datname::text AS name FROM pg_catalog.pg_database WHERE datname ~ '^{}' \
             ORDER BY pg_catalog.shobj_description(oid, 'pg_database') DESC NULLS LAST OFFSET {}",
            base::PREFIX,
            base::KEPT
        ))
        .get_results(&mut self.admin)
        .await?;
        for Old { name } in old {
            // One that somebody copies just now stays until the next time.
            let _ = self.admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await;
        }
        Ok(())
    }

    pub(crate) async fn drop(&mut self, name: &str) -> Result<(), CheckError> {
        let dropped = self.admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        dropped.map_err(|error| CheckError::server("drop a database of the check")(error.into()))
    }

    /// A connection in the state that every file of a migration begins with.
    pub(crate) async fn connect(&self, name: &str) -> Result<AsyncPgConnection, CheckError> {
        let connected = self.server.connect(name).await;
        let mut conn = connected.map_err(CheckError::server("reach a database of the check"))?;
        self.reset(&mut conn).await?;
        Ok(conn)
    }

    /// Undoes what a file has set in the session; inside a transaction too.
    pub(crate) async fn reset(&self, conn: &mut AsyncPgConnection) -> Result<(), CheckError> {
        Ok(conn.batch_execute(&self.resetting()).await?)
    }

    /// What [`Scratch::reset`] runs.
    pub(super) fn resetting(&self) -> String {
        format!("{SESSION}; SET statement_timeout = {}", self.statement_timeout.as_millis())
    }

    /// Drops every database of this check, also after an error.
    pub(crate) async fn finish(mut self) -> Result<(), CheckError> {
        for number in 1..=self.made {
            self.drop(&format!("{}_{number}", self.prefix)).await?;
        }
        Ok(())
    }

    async fn wait_until_left(&mut self, name: &str) -> Result<(), CheckError> {
        #[derive(QueryableByName)]
        struct Left {
            #[diesel(sql_type = diesel::sql_types::Bool)]
            left: bool,
        }
        let started = std::time::Instant::now();
        loop {
            let asked = sql_query(
                "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend') AS left",
            );
            let Left { left } = asked.bind::<Text, _>(name).get_result(&mut self.admin).await?;
            if left || started.elapsed() > LEAVES_WITHIN {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
