//! Refuses a connection that goes through a transaction-pooling proxy.
//!
//! Such a proxy gives the server connection away whenever a transaction ends. So while the first connection
//! is idle, others are opened that stay in a transaction: a proxy lends them what it has idle, the first
//! one's server connection among it, and then either one of them has the first one's backend or the first one
//! gets another. All of it is plain text: the driver closes prepared statements when it likes, and each close
//! would occupy a server connection.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use db_core::{Connect, Endpoint, Result, SqlState};
use diesel::sql_types::Integer;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::error::MigrationError;

/// How many others are opened: as many idle server connections a proxy may lend before it lends the first
/// one's.
const OTHERS: usize = 3;

/// A proxy that has no server connection to spare, since each belongs to a session, lets the other wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a session says that is not the one it must be, or is the one it must not be.
const POOLED: &str = "db-migrations: this session is pooled";

type Opening = Pin<Box<dyn Future<Output = Result<AsyncPgConnection>> + Send>>;

/// Opens a second connection the way the first one was opened.
#[derive(Clone)]
pub(crate) struct Second(Arc<dyn Fn() -> Opening + Send + Sync>);

impl Second {
    pub(crate) fn new(connect: impl Connect + 'static, endpoint: Endpoint) -> Self {
        let connect = Arc::new(connect);
        Second(Arc::new(move || {
            let (connect, endpoint) = (Arc::clone(&connect), endpoint.clone());
            Box::pin(async move { connect.connect(&endpoint).await })
        }))
    }

    /// Fails where the connection is pooled.
    pub(crate) async fn refuse_pooled(&self, conn: &mut AsyncPgConnection) -> Outcome {
        let first = backend(conn).await?;
        let mut others = Vec::new();
        for _ in 0..OTHERS {
            expect(conn, "<>", first).await?;
            match tokio::time::timeout(PATIENCE, self.other(first)).await {
                Ok(Ok(other)) => others.push(other),
                Ok(Err(MigrationError::Database(error)))
                    if others.is_empty() && error.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS) =>
                {
                    tracing::warn!(
                        "there is room for one connection only, so a pooling proxy in between would not be noticed, nor can \
                         the runner say for whom it waits: let the role have four (ALTER ROLE … CONNECTION LIMIT 4)"
                    );
                    break;
                }
                Ok(Err(error)) if others.is_empty() || matches!(error, MigrationError::Pooled) => {
                    return Err(error);
                }
                // The server has no room for more; what was seen must do.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        expect(conn, "<>", first).await
    }

    /// Another connection, to look at the first one's session.
    pub(crate) async fn open(&self) -> Result<AsyncPgConnection> {
        (self.0)().await
    }

    /// Another connection, in a transaction.
    async fn other(&self, first: i32) -> std::result::Result<AsyncPgConnection, MigrationError> {
        let mut other = (self.0)().await.map_err(|error| known(error.to_string(), || error.into()))?;
        other.batch_execute("BEGIN").await?;
        expect(&mut other, "=", first).await?;
        Ok(other)
    }
}

type Outcome = std::result::Result<(), MigrationError>;

impl fmt::Debug for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Second")
    }
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

pub(crate) async fn backend(conn: &mut AsyncPgConnection) -> std::result::Result<i32, MigrationError> {
    let backend: Backend = sql_query("SELECT pg_catalog.pg_backend_pid() AS pid").get_result(conn).await?;
    Ok(backend.pid)
}

/// Fails as pooled where the session's backend compares so with `first`.
async fn expect(conn: &mut AsyncPgConnection, compares: &str, first: i32) -> Outcome {
    let check = format!(
        "DO $$BEGIN IF pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.{compares}) {first} THEN \
         RAISE EXCEPTION '{POOLED}'; END IF; END$$"
    );
    let checked = conn.batch_execute(&check).await;
    checked.map_err(|error| known(error.to_string(), || error.into()))
}

/// What was prepared on one server connection is not known to another.
fn known(text: String, other: impl FnOnce() -> MigrationError) -> MigrationError {
    let pooled = text.contains(POOLED) || text.contains("prepared statement");
    if pooled { MigrationError::Pooled } else { other() }
}
