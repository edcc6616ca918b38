//! A database of its own for each test, and what tests ask of it.

use db_testkit::TestDatabase;
use tokio_postgres::{Client, NoTls};

/// A database with what these statements make.
pub(crate) async fn with(statements: &str) -> (TestDatabase, Client) {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await;
    client.batch_execute(statements).await.unwrap();
    (database, client)
}

/// A connection that has COPY.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
