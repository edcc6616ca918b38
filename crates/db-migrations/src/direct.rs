//! Refuses a connection that goes through a transaction-pooling proxy.
//!
//! Such a proxy gives the server connection away whenever a transaction ends. So while the first connection is idle a
//! second one is opened: if it gets the same backend, or if the first one's backend changes, there is one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use db_core::{Connect, Endpoint, Result};
use diesel::sql_types::Integer;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::error::MigrationError;

/// How often both are asked: a proxy that goes round its servers gives itself away at the second look.
const LOOKS: usize = 3;

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
    pub(crate) async fn refuse_pooled(
        &self,
        conn: &mut AsyncPgConnection,
    ) -> std::result::Result<(), MigrationError> {
        let first = backend(conn).await?;
        let mut second = (self.0)().await?;
        for _ in 0..LOOKS {
            if backend(&mut second).await? == first || backend(conn).await? != first {
                return Err(MigrationError::Pooled);
            }
        }
        Ok(())
    }
}

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

async fn backend(conn: &mut AsyncPgConnection) -> std::result::Result<i32, MigrationError> {
    match sql_query("SELECT pg_backend_pid() AS pid").get_result::<Backend>(conn).await {
        Ok(backend) => Ok(backend.pid),
        // What was prepared on one server connection is not known to another.
        Err(error) if error.to_string().contains("prepared statement") => Err(MigrationError::Pooled),
        Err(error) => Err(error.into()),
    }
}
