//! Servers that checks run on.

use db_migrations::check::Databases;
use diesel_async::{AsyncConnection, AsyncPgConnection};

/// A server by the URL of one of its databases.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    url: String,
}

impl Server {
    pub(crate) fn new(url: String) -> Self {
        Server { url }
    }
}

impl Databases for Server {
    async fn connect(&self, database: &str) -> db_core::Result<AsyncPgConnection> {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        let connected = AsyncPgConnection::establish(&format!("{server}/{database}")).await;
        connected.map_err(|error| db_core::Error::ConnectionLost { reason: error.to_string() })
    }
}
