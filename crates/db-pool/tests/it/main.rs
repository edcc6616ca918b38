//! The pool on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod adapting;
mod connecting;
#[cfg(feature = "tls")]
mod encrypting;
mod handing_out;
mod metrics;
mod observing;
mod operating;
mod returning;
mod stale;
mod telling;
mod upkeep;

use db_core::DatabaseUrl;
use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::TestDatabase;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

fn pool_config(max: usize) -> PoolConfig {
    PoolConfig { max: max.try_into().unwrap(), ..PoolConfig::default() }
}

fn open(url: &str, config: PoolConfig) -> Pool {
    let url: DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    Pool::open(Connector::new(url, ConnectConfig::default()), endpoint, config)
}

async fn pool(max: usize) -> (TestDatabase, Pool) {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), pool_config(max));
    (database, pool)
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

/// The one number that a query of one column `n bigint` gives.
async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

async fn word(conn: &mut AsyncPgConnection, sql: &str) -> String {
    sql_query(sql).get_result::<Word>(conn).await.unwrap().word
}

async fn backend(conn: &mut AsyncPgConnection) -> i64 {
    number(conn, "SELECT pg_backend_pid()::bigint AS n").await
}
