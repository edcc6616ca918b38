//! A read that occupies a connection and no processor, through ours and through what applications write by
//! hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db_platform::Db;
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::peers::{self, Deadpool};

/// The server's setting that says how many seconds a read takes on it.
pub(super) const TAKES: &str = "bench.read_takes";

/// Whatever answers reads.
pub(super) trait Reads: Clone + Send + Sync + 'static {
    /// One read.
    fn once(&self) -> impl Future<Output = ()> + Send;
}

impl Reads for Db {
    async fn once(&self) {
        self.read(async |conn| read(conn).await).await.unwrap();
    }
}

/// A deadpool for each standby, which take turns: what there is without a library.
#[derive(Clone)]
pub(super) struct RoundRobin {
    pools: Arc<[Deadpool]>,
    turn: Arc<AtomicUsize>,
}

impl RoundRobin {
    /// Over these servers, with so many connections to each, all of them open.
    pub(super) async fn over(urls: &[String], connections: usize) -> Self {
        let mut pools = Vec::new();
        for url in urls {
            pools.push(peers::deadpool(url, connections, connections).await);
        }
        RoundRobin { pools: pools.into(), turn: Arc::default() }
    }
}

impl Reads for RoundRobin {
    async fn once(&self) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut conn = self.pools[turn % self.pools.len()].get().await.unwrap();
        read(&mut conn).await.unwrap();
    }
}

async fn read(conn: &mut AsyncPgConnection) -> QueryResult<usize> {
    sql_query("SELECT pg_sleep(current_setting('bench.read_takes')::float8)").execute(conn).await
}
