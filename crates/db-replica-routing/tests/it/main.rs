//! The router on a real cluster.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::time::Duration;

use db_core::{Acquire, Connect, Endpoint, Error, Result, Role};
use db_replica_routing::{Freshness, LinkAlarm, Purpose, Router, RouterConfig};
use db_testkit::{Cluster, Stop, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a connection for each acquire; says what it is for in its endpoint.
struct Direct(Endpoint, Purpose);

impl Acquire for Direct {
    type Conn = Box<AsyncPgConnection>;

    async fn acquire(&self) -> Result<Self::Conn> {
        Opener.connect(&self.0).await.map(Box::new)
    }
}

#[derive(Clone)]
struct Opener;

impl Connect for Opener {
    async fn connect(&self, endpoint: &Endpoint) -> Result<AsyncPgConnection> {
        let opened =
            AsyncPgConnection::establish(&format!("postgres://postgres:postgres@{endpoint}/app")).await;
        opened.map_err(|error| Error::ConnectionLost { reason: error.to_string() })
    }
}

fn endpoint(url: &str) -> Endpoint {
    url.parse::<db_core::DatabaseUrl>().unwrap().hosts()[0].clone()
}

fn router(cluster: &Cluster) -> Router<Direct> {
    router_probing_every(Duration::from_millis(50), cluster)
}

fn router_probing_every(probe_interval: Duration, cluster: &Cluster) -> Router<Direct> {
    let standbys = cluster.standby_urls().iter().map(|url| endpoint(url)).collect();
    let nodes = (endpoint(&cluster.primary_url()), standbys);
    let config = RouterConfig { probe_interval, ..RouterConfig::default() };
    let open = |endpoint: &Endpoint, purpose| Direct(endpoint.clone(), purpose);
    Router::start(nodes, open, |_| Opener, config, LinkAlarm::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_leaves_a_standby_that_died_and_comes_back_to_it() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster);
    let (primary, standby) = (endpoint(&cluster.primary_url()), endpoint(&cluster.standby_urls()[0]));
    let answering = async || router.reader(Freshness::Default).acquire().await.unwrap().endpoint().clone();

    until("the standby answers", async || answering().await == standby).await;
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("it is seen down", async || !router.topology().nodes[1].is_up()).await;
    assert_eq!(answering().await, primary);
    cluster.start(1).await.unwrap();
    until("the standby answers again", async || answering().await == standby).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freshness_chooses_who_may_answer() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster);
    router.settle(PATIENCE).await;
    let (primary, standby) = (endpoint(&cluster.primary_url()), endpoint(&cluster.standby_urls()[0]));
    let answering = async |freshness| router.reader(freshness).acquire().await.unwrap().endpoint().clone();
    assert_eq!(answering(Freshness::Primary).await, primary);

    cluster.pause_replay(1).await.unwrap();
    let mut writer = router.writer().acquire().await.unwrap();
    writer.batch_execute("CREATE TABLE late ()").await.unwrap();
    let lag = || router.topology().nodes[1].lag;
    until("the standby lags", async || lag().is_none_or(|lag| lag > Duration::from_millis(200))).await;
    assert_eq!(answering(Freshness::Within(Duration::from_millis(200))).await, primary);
    assert_eq!(answering(Freshness::Any).await, standby);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_source_knows_its_purpose_and_a_promoted_standby_answers_no_reads() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster);
    router.settle(PATIENCE).await;
    let purposes: Vec<Purpose> = router.sources().map(|source| source.1).collect();
    assert_eq!(purposes, [Purpose::Write, Purpose::FallbackRead, Purpose::Read]);

    cluster.promote(1).await.unwrap();
    until("its role is seen", async || router.topology().nodes[1].role == Some(Role::Primary)).await;
    let conn = router.reader(Freshness::Any).acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), router.topology().nodes[0].endpoint, "its data may have gone another way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_failed_a_read_is_out_of_use_until_a_probe_finds_it_alive() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router_probing_every(Duration::from_secs(20), &cluster);
    router.settle(Duration::from_secs(60)).await;
    let standby = endpoint(&cluster.standby_urls()[0]);
    let reader = router.reader(Freshness::Default);
    let mut conn = reader.acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), standby);
    reader.evict(&mut conn);
    assert_ne!(*reader.acquire().await.unwrap().endpoint(), standby);
    // The alarm hastens the probe, which is not due for another twenty seconds.
    until("it answers again", async || *reader.acquire().await.unwrap().endpoint() == standby).await;
}

/// A standby that is cut off has replayed all that it received: only the primary's position tells that it is behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_cut_off_from_a_busy_primary_lags() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster);
    router.settle(PATIENCE).await;
    let mut writer = router.writer().acquire().await.unwrap();
    let sender = "SELECT pid::bigint AS pid FROM pg_stat_replication";
    let sender = diesel::sql_query(sender).get_result::<Sender>(&mut writer).await.unwrap().pid.to_string();
    let signal = |signal: &str| {
        let told = std::process::Command::new("kill").args([signal, &sender]).status().unwrap();
        assert!(told.success());
    };
    signal("-STOP");
    writer.batch_execute("CREATE TABLE late ()").await.unwrap();
    let lag = || router.topology().nodes[1].lag;
    until("the standby lags", async || lag().is_none_or(|lag| lag > Duration::from_millis(300))).await;
    signal("-CONT");
    until("it has caught up", async || lag() == Some(Duration::ZERO)).await;
}

#[derive(diesel::QueryableByName)]
struct Sender {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pid: i64,
}
