//! The pool on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod adapting;
mod beginning;
mod connecting;
#[cfg(feature = "tls")]
mod encrypting;
mod foreign_code;
mod functions;
mod handing_out;
mod metrics;
mod observing;
mod operating;
mod patience;
mod pooler;
mod returning;
mod stale;
mod starting;
mod telling;
mod trace_labels;
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

/// Lines of a log, as they are written.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Hears what is logged by this thread: in a test on one thread also by the pool's own tasks.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        self.listen_to(tracing::Level::INFO)
    }

    /// As `listen`, down to this level.
    fn listen_to(&self, level: tracing::Level) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let format = tracing_subscriber::fmt().with_ansi(false).with_max_level(level);
        tracing::subscriber::set_default(format.with_writer(move || writer.clone()).finish())
    }

    fn lines_with(&self, what: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }
}
