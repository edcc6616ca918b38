//! The pools that are compared, each opened as its own documentation says, with the checks on get switched
//! off that ours does not make either.

use std::num::NonZeroUsize;
use std::sync::Arc;

use db_core::Observe;
use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, bb8, deadpool,
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use sqlx::Executor;
use sqlx::postgres::{PgPool, PgPoolOptions};

/// A pool, whoever's it is.
pub trait Source: Clone + Send + Sync + 'static {
    /// A connection that goes back when it is dropped.
    type Conn<'a>: Send;

    /// Waits for a connection; none where there is none to be had.
    fn take(&self) -> impl Future<Output = Option<Self::Conn<'_>>> + Send;

    /// Runs a statement whose rows nobody wants.
    fn run(conn: &mut Self::Conn<'_>, sql: &'static str) -> impl Future<Output = ()> + Send;
}

impl Source for Pool {
    type Conn<'a> = db_pool::Connection;

    async fn take(&self) -> Option<Self::Conn<'_>> {
        self.get().await.ok()
    }

    async fn run(conn: &mut Self::Conn<'_>, sql: &'static str) {
        conn.batch_execute(sql).await.unwrap();
    }
}

/// diesel-async's type over `deadpool::managed`.
pub type Deadpool = deadpool::Pool<AsyncPgConnection>;

impl Source for Deadpool {
    type Conn<'a> = deadpool::Object<AsyncPgConnection>;

    async fn take(&self) -> Option<Self::Conn<'_>> {
        self.get().await.ok()
    }

    async fn run(conn: &mut Self::Conn<'_>, sql: &'static str) {
        conn.batch_execute(sql).await.unwrap();
    }
}

/// diesel-async's type over bb8.
pub type Bb8 = bb8::Pool<AsyncPgConnection>;

impl Source for Bb8 {
    type Conn<'a> = bb8::PooledConnection<'a, AsyncPgConnection>;

    async fn take(&self) -> Option<Self::Conn<'_>> {
        self.get().await.ok()
    }

    async fn run(conn: &mut Self::Conn<'_>, sql: &'static str) {
        conn.batch_execute(sql).await.unwrap();
    }
}

impl Source for PgPool {
    type Conn<'a> = sqlx::pool::PoolConnection<sqlx::Postgres>;

    async fn take(&self) -> Option<Self::Conn<'_>> {
        self.acquire().await.ok()
    }

    async fn run(conn: &mut Self::Conn<'_>, sql: &'static str) {
        (&mut **conn).execute(sql).await.unwrap();
    }
}

/// Ours, with everything it does on: the wire tap, every counter and histogram, leak tracking, an observer.
pub async fn ours(url: &str, min: usize, max: usize) -> Pool {
    let connector =
        connector(url, true).observed_by([Arc::new(crate::tap::Sum::default()) as Arc<dyn Observe>]);
    let config = PoolConfig { min, max: NonZeroUsize::new(max).unwrap(), ..PoolConfig::default() };
    assert!(config.leak_threshold.is_some(), "leak tracking is part of what is measured");
    let endpoint = connector.url().hosts().first().unwrap().clone();
    let pool = Pool::open(connector, endpoint, config);
    db_testkit::until("the pool has opened its connections", async || pool.status().idle >= min).await;
    pool
}

/// How ours connects.
pub fn connector(url: &str, wire_tap: bool) -> Connector {
    Connector::new(url.parse().unwrap(), ConnectConfig { wire_tap, ..ConnectConfig::default() })
}

fn manager(url: &str) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    AsyncDieselConnectionManager::new_with_config(url, config)
}

/// deadpool, with `min` connections already open.
pub async fn deadpool(url: &str, min: usize, max: usize) -> Deadpool {
    let pool = deadpool::Pool::builder(manager(url)).max_size(max).build().unwrap();
    warm(&pool, min).await;
    pool
}

/// bb8, with `min` connections already open.
pub async fn bb8(url: &str, min: usize, max: usize) -> Bb8 {
    let builder = bb8::Pool::builder().max_size(u32::try_from(max).unwrap()).test_on_check_out(false);
    let pool = builder.build(manager(url)).await.unwrap();
    warm(&pool, min).await;
    pool
}

/// sqlx's pool, with `min` connections already open. It asks each connection for a sign of life when it comes
/// back, which cannot be switched off.
pub async fn sqlx(url: &str, min: usize, max: usize) -> PgPool {
    let options =
        PgPoolOptions::new().max_connections(u32::try_from(max).unwrap()).test_before_acquire(false);
    let pool = options.connect_lazy(url).unwrap();
    warm(&pool, min).await;
    pool
}

/// The pools that ours is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// diesel-async's pool type over `deadpool::managed`, recycling without a question.
    Deadpool,
    /// diesel-async's pool type over bb8, without a check on get.
    Bb8,
    /// sqlx's own pool, without a check on get.
    Sqlx,
}

impl Peer {
    /// All of them.
    pub const ALL: [Peer; 3] = [Peer::Deadpool, Peer::Bb8, Peer::Sqlx];

    /// As figures name it.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Deadpool => "deadpool",
            Peer::Bb8 => "bb8",
            Peer::Sqlx => "sqlx",
        }
    }
}

async fn warm(pool: &impl Source, connections: usize) {
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(pool.take().await.unwrap());
    }
}
