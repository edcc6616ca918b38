//! Servers that checks run on.

use db_migrations::check::Databases;
use db_testkit::TestDatabase;
use diesel_async::{AsyncConnection, AsyncPgConnection};

/// A server by the URL of one of its databases.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    url: String,
}

impl Databases for Server {
    async fn connect(&self, database: &str) -> db_core::Result<AsyncPgConnection> {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        let connected = AsyncPgConnection::establish(&format!("{server}/{database}")).await;
        connected.map_err(|error| db_core::Error::ConnectionLost { reason: error.to_string() })
    }
}

/// The server of this process, or the one that the environment names.
pub(crate) async fn shared() -> Server {
    // Its databases are on the same server as those of the check.
    let database = TestDatabase::empty().await.unwrap();
    Server { url: database.url().to_owned() }
}
