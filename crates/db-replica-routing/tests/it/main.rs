//! The router on real clusters.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod balance;
mod failover;
mod metrics;
mod pgbouncer;
mod platforms;
mod reads;
mod refusals;
mod session_commits;
mod session_store;
mod sources;
mod split_brain;
mod tokens;

use std::panic::Location;
use std::time::Duration;

use db_core::{Acquire, Endpoint, Lsn};
use db_replica_routing::{Freshness, NodeConfig, Router, RouterConfig, Signals};
use db_testkit::Cluster;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use sources::{Kept, Opener, kept};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(diesel::QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

async fn backend(conn: &mut AsyncPgConnection) -> i64 {
    number(conn, "SELECT pg_backend_pid()::int8 AS n").await
}

async fn replayed(conn: &mut AsyncPgConnection) -> Lsn {
    let sql = "SELECT pg_last_wal_replay_lsn()::text AS word";
    sql_query(sql).get_result::<Word>(conn).await.unwrap().word.parse().unwrap()
}

fn endpoint(url: &str) -> Endpoint {
    url.parse::<db_core::DatabaseUrl>().unwrap().hosts()[0].clone()
}

/// All nodes of a cluster, the last first: nothing tells which one is the primary.
fn nodes(cluster: &Cluster) -> Vec<Endpoint> {
    let count = 1 + cluster.standby_urls().len();
    (0..count).rev().map(|server| node(cluster, server)).collect()
}

fn node(cluster: &Cluster, server: usize) -> Endpoint {
    endpoint(&cluster.url_of(server).unwrap())
}

fn config() -> RouterConfig {
    RouterConfig { probe_interval: Duration::from_millis(50), ..RouterConfig::default() }
}

async fn router(cluster: &Cluster) -> Router<Kept> {
    router_with(nodes(cluster), config()).await
}

async fn router_with<N: Into<NodeConfig>>(nodes: Vec<N>, config: RouterConfig) -> Router<Kept> {
    let signals = Signals::default();
    let router = Router::start(nodes, kept(&signals), |_| Opener, config, signals);
    router.settle(PATIENCE).await;
    router
}

/// Who answers a read now, which takes an idle connection if there is one, as calls do.
async fn answering(router: &Router<Kept>, freshness: Freshness) -> Endpoint {
    let reader = router.reader(freshness);
    let conn = match reader.acquire_now(Location::caller()) {
        Some(conn) => conn,
        None => reader.acquire().await.unwrap(),
    };
    conn.endpoint().clone()
}
