//! A connection of our own: it reads only, gives up soon, and stands in nobody's way.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use db_core::{Endpoint, Error};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::server::access::AccessRow;
use crate::server::identity::IdentityRow;
use crate::server::section::unix_seconds;
use crate::server::sql::Sql;
use crate::server::{Access, Catalog, Database, Record, ServerIdentity, SkipReason, Skipped, record, sql};

/// What an asynchronous answer of a seam looks like.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens a connection to a database of the server, or to the one of the settings where none is named.
pub type OpenConnection = db_core::OpenDirect;

/// All that was sent in one flush is answered within this time, or the connection is given up: the server
/// ends each statement after two seconds, and a lost server ends nothing.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// What a session is told first. A name without a schema is the system's, and nothing of ours is in a lock
/// queue for long.
const SETTINGS: &str = "\
SET application_name = 'db-platform monitoring';\
SET default_transaction_read_only = on;\
SET statement_timeout = '2s';\
SET lock_timeout = '100ms';\
SET idle_in_transaction_session_timeout = '10s';\
SET search_path = pg_catalog;\
SET max_parallel_workers_per_gather = 0;\
SET jit = off";

/// A connection of our own to one database of a server.
///
/// It never comes from the pool that it watches. It reads only; each statement ends after two seconds, and
/// a wait for a lock after a tenth of one, so that nothing of ours stands for long in a queue in front of
/// others. Names without a schema are those of `pg_catalog`. Statements that are polled together go in one
/// flush, and one that fails fails alone.
///
/// ```no_run
/// # async fn example(conn: diesel_async::AsyncPgConnection) -> Result<(), db_monitoring::server::Skipped> {
/// use db_core::Endpoint;
/// use db_monitoring::server::{Backend, ServerSession};
///
/// let session = ServerSession::open(conn, Endpoint::new("db", 5432)).await?;
/// for backend in session.read::<Backend>("WHERE s.state = 'active'").await? {
///     println!("{} {:?}", backend.pid, backend.wait_event);
/// }
/// # Ok(())
/// # }
/// ```
pub struct ServerSession {
    conn: AsyncPgConnection,
    endpoint: Endpoint,
    database: String,
    catalog: Catalog,
    lost: AtomicBool,
}

impl ServerSession {
    /// Prepares a connection, and finds out what the server has.
    ///
    /// # Errors
    /// Where the server refuses the settings or does not answer in time. The connection is closed then.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn open(mut conn: AsyncPgConnection, endpoint: Endpoint) -> Result<Self, Skipped> {
        let prepare = async {
            conn.batch_execute(SETTINGS).await.map_err(|error| Skipped::from(Error::from(error)))?;
            Catalog::ask(&conn).await
        };
        let catalog = within(prepare).await?;
        let lost = AtomicBool::new(false);
        let mut session = ServerSession { conn, endpoint, database: String::new(), catalog, lost };
        session.database = session.read_one::<AccessRow>("").await?.database;
        Ok(session)
    }

    /// The database that it is in.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What this database has.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Where the connection leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it is no use any more: it was lost, did not answer in time, or the catalog changed under it.
    /// Open another one.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Reads all rows of a record's view, with what is to follow behind `FROM`; the view is `s` there.
    ///
    /// # Errors
    /// Why it is not known: missing, refused, locked, late.
    ///
    /// # Cancel safety
    /// Dropping the future drops the answer; the session stays usable.
    pub async fn read<R: Record>(&self, rest: &str) -> Result<Vec<R>, Skipped> {
        self.rows(&record::select::<R>(&self.catalog, rest)?).await
    }

    /// Runs a statement of the caller's, whose columns are those of the record in their order, cast to its
    /// types.
    ///
    /// The statement stays prepared under its text, so the text must be one of few.
    ///
    /// # Errors
    /// As [`read`](ServerSession::read).
    ///
    /// # Cancel safety
    /// As [`read`](ServerSession::read).
    pub async fn rows<R: Record>(&self, text: &str) -> Result<Vec<R>, Skipped> {
        self.run(Sql { text, comes_again: true }).await
    }

    /// As [`rows`](ServerSession::rows), for a text that is one of many: it does not stay prepared.
    ///
    /// # Errors
    /// As [`read`](ServerSession::read).
    ///
    /// # Cancel safety
    /// As [`read`](ServerSession::read).
    pub async fn rows_once<R: Record>(&self, text: &str) -> Result<Vec<R>, Skipped> {
        self.run(Sql { text, comes_again: false }).await
    }

    async fn run<R: Record>(&self, asked: Sql<'_>) -> Result<Vec<R>, Skipped> {
        if self.is_lost() {
            return Err(Skipped::new(SkipReason::Unreachable, "the connection was lost"));
        }
        let answered = within(sql::rows(&self.conn, asked)).await;
        // A session whose catalog is wrong is as useless as a lost one.
        if let Err(Skipped { reason: SkipReason::Unreachable | SkipReason::Missing, .. }) = &answered {
            self.lost.store(true, Ordering::Relaxed);
        }
        answered
    }

    /// The only row of a record.
    ///
    /// # Errors
    /// As [`read`](ServerSession::read), and where there is no row.
    ///
    /// # Cancel safety
    /// As [`read`](ServerSession::read).
    pub async fn read_one<R: Record>(&self, rest: &str) -> Result<R, Skipped> {
        let no_row = || Skipped::new(SkipReason::NotApplicable, format!("{} is empty", R::RELATION));
        self.read::<R>(rest).await?.pop().ok_or_else(no_row)
    }

    /// Which server it is, now.
    ///
    /// # Errors
    /// As [`read`](ServerSession::read).
    ///
    /// # Cancel safety
    /// As [`read`](ServerSession::read).
    pub async fn identity(&self) -> Result<ServerIdentity, Skipped> {
        let row: IdentityRow = self.read_one("").await?;
        Ok(row.at(self.endpoint.clone(), unix_seconds(SystemTime::now())))
    }

    /// What the role may see, and the server's databases.
    ///
    /// # Errors
    /// As [`read`](ServerSession::read).
    ///
    /// # Cancel safety
    /// As [`read`](ServerSession::read).
    pub async fn access(&self) -> Result<Access, Skipped> {
        let (access, databases) =
            tokio::join!(self.read_one::<AccessRow>(""), self.read::<Database>("ORDER BY s.datname"));
        Ok(access?.with(databases?))
    }
}

impl std::fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSession").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, Skipped>>) -> Result<T, Skipped> {
    let late = || Skipped::new(SkipReason::Unreachable, format!("no answer within {ANSWERED_WITHIN:?}"));
    tokio::time::timeout(ANSWERED_WITHIN, asked).await.unwrap_or_else(|_| Err(late()))
}
