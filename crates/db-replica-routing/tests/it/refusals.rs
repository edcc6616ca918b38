//! Servers that are alive and refuse, sources that have too much to do, and waits that are known to be in
//! vain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Acquire, Connect, DatabaseUrl, Endpoint, Error, Result};
use db_replica_routing::{Freshness, Router, RouterConfig, Signals, Token};
use db_testkit::{Cluster, Source, until};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio_postgres::NoTls;

use crate::{Kept, Opener, PATIENCE, answering, config, kept, node, nodes, number, router_with};

/// Opens connections of this name, and says with which code the server refused one.
#[derive(Clone)]
struct Coded(&'static str);

impl Connect for Coded {
    async fn connect(&self, endpoint: &Endpoint) -> Result<AsyncPgConnection> {
        let url: DatabaseUrl = format!(
            "postgres://postgres:{}@{endpoint}/app?application_name={}",
            db_testkit::password(),
            self.0
        )
        .parse()
        .unwrap();
        let opened = url.postgres_config(endpoint).connect(NoTls).await;
        let (client, connection) =
            opened.map_err(|error| url.connect_error(endpoint, &error, Duration::ZERO))?;
        let made = AsyncPgConnection::try_from_client_and_connection(client, connection).await;
        made.map_err(|error| Error::ConnectionLost { reason: error.to_string() })
    }
}

/// Takes every place that the server has for a connection.
async fn fill(cluster: &Cluster, taken: &mut Vec<AsyncPgConnection>) {
    while let Ok(conn) = Coded("others").connect(&node(cluster, 0)).await {
        taken.push(conn);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_has_no_place_for_the_monitor_still_takes_writes() {
    let cluster = Cluster::builder().setting("max_connections", "12").start().await.unwrap();
    let signals = Signals::default();
    let router = Router::start(nodes(&cluster), kept(&signals), |_| Coded("monitor"), config(), signals);
    router.settle(PATIENCE).await;
    // The pool has one connection, and it lies idle.
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n int8)").await.unwrap();
    drop(conn);
    let mut taken = Vec::new();
    let probes = || router.topology().nodes[0].probes;
    let monitors = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity \
                    WHERE application_name = 'monitor'";
    let refused = async |taken: &mut Vec<AsyncPgConnection>| {
        fill(&cluster, taken).await;
        number(&mut taken[0], monitors).await;
        fill(&cluster, taken).await;
        let free = "SELECT 12 - count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'";
        number(&mut taken[0], monitors).await == 0 && number(&mut taken[0], free).await == 0
    };
    let deadline = Instant::now() + PATIENCE;
    while !refused(&mut taken).await {
        assert!(Instant::now() < deadline, "the monitor always finds a place");
    }
    let (before, mut written) = (probes(), 0);
    while probes() < before + 20 {
        let mut conn = router.writer().acquire().await.unwrap();
        conn.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        written += 1;
        assert_eq!(router.topology().writer, Some(node(&cluster, 0)));
    }
    let mut conn = router.writer().acquire().await.unwrap();
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM t").await, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_does_not_wait_for_a_standby_that_is_known_to_lag_by_seconds() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let wait = Duration::from_millis(400);
    let settings = RouterConfig { token_wait: wait, ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    cluster.pause_replay(1).await.unwrap();
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE t ()").await.unwrap();
    let token = Token::read(&conn).await.unwrap().unwrap();
    drop(conn);
    until("the lag is known", async || router.topology().nodes[0].lag.is_none_or(|lag| lag > wait)).await;
    let (before, started) = (router.topology().nodes[0].token_probes, Instant::now());
    for _ in 0..20 {
        assert_eq!(answering(&router, Freshness::AtLeast(token)).await, node(&cluster, 0));
    }
    assert!(started.elapsed() < wait * 5, "{:?}", started.elapsed());
    assert_eq!(router.topology().nodes[0].token_probes, before, "and nobody hastens the probes");
}

/// A router over a primary and standbys, of which those with these numbers have too much to do.
async fn overloaded(cluster: &Cluster, full: &'static [usize]) -> Router<Source> {
    let all: Vec<_> = (0..=cluster.standby_urls().len())
        .map(|server| (node(cluster, server), cluster.url_of(server).unwrap()))
        .collect();
    let places = Arc::new(all.clone());
    let open = move |endpoint: &Endpoint, _| {
        let place = places.iter().position(|(at, _)| at == endpoint).unwrap();
        let endpoint = endpoint.clone();
        match full.contains(&place) {
            true => Source::new(move |_| {
                let full = Error::QueueFull { endpoint: endpoint.clone(), waiting: 9, limit: 9 };
                async { Err(full) }
            }),
            false => Source::opening(&*places[place].1),
        }
    };
    let signals = Signals::default();
    let nodes: Vec<Endpoint> = all.into_iter().map(|(at, _)| at).collect();
    let router = Router::start(nodes, open, |_| Opener, config(), signals);
    router.settle(PATIENCE).await;
    until("the standbys are up", async || router.topology().nodes.iter().all(|node| node.is_up())).await;
    router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_moves_no_read_to_the_primary_and_ejects_nobody() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let router = overloaded(&cluster, &[1, 2]).await;
    for _ in 0..30 {
        let refused = router.reader(Freshness::Default).acquire().await.err().unwrap();
        assert!(matches!(refused, Error::QueueFull { .. }), "{refused}");
    }
    let topology = router.topology();
    assert_eq!((topology.reads.total(), topology.nodes.iter().map(|node| node.ejections).sum()), (0, 0_u64));

    let router = overloaded(&cluster, &[1]).await;
    for _ in 0..30 {
        let answers = router.reader(Freshness::Default).acquire().await.unwrap();
        assert_eq!(*answers.endpoint(), node(&cluster, 2), "the other one has room");
    }
}

/// Whatever the pause between two probes is set to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lag_that_was_measured_long_ago_does_not_count_as_small() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let max_lag = Duration::from_secs(1);
    let settings =
        RouterConfig { probe_interval: Duration::from_secs(60), max_lag, ..RouterConfig::default() };
    let router = router_with(nodes(&cluster), settings).await;
    let mut writer = router.writer().acquire().await.unwrap();
    writer.batch_execute("CREATE TABLE t (n int8)").await.unwrap();
    until("the standby answers", async || answering(&router, Freshness::Default).await == node(&cluster, 1))
        .await;
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.pause_replay(1).await.unwrap();
    writer.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    let written = Instant::now();
    let is_seen = async |router: &Router<Kept>| {
        let mut conn = router.reader(Freshness::Default).acquire().await.unwrap();
        number(&mut conn, "SELECT count(*) AS n FROM t").await == 1
    };
    until("the row is seen", async || is_seen(&router).await).await;
    assert!(written.elapsed() <= max_lag + Duration::from_millis(500), "{:?}", written.elapsed());
}
