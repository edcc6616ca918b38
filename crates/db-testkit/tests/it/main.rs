//! The kit against real servers, real processes and real sockets.

#![expect(clippy::unwrap_used, reason = "a panic in a test's helper is the test's report")]

mod cancelling;
mod children;
mod clusters;
mod crashes;
mod databases;
mod failing;
mod leaving;
mod lost_commits;
mod pgbouncer;
mod proxies;
mod redis;
mod skipping;
mod users;

use std::time::Duration;

use db_testkit::until;

/// The longest that anything here is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(300);

/// A tokio-postgres connection, served by this test's runtime.
async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The first column of the only row.
async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &tokio_postgres::Client, sql: &str) -> T {
    client.query_one(sql, &[]).await.unwrap().get(0)
}
