//! Servers that tell less, names that lead elsewhere, poolers in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Acquire, Connect, Endpoint, Error, Result, Role};
use db_replica_routing::{Freshness, Router, RouterConfig, Signals, Token};
use db_testkit::{Balancer, Cluster, Direction, Proxy, Source, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::{Kept, Opener, PATIENCE, answering, config, kept, node, number, router_with};

/// Logs in as a user who may not ask for log positions, as on platforms that do not offer them.
#[derive(Clone)]
struct Unprivileged;

impl Connect for Unprivileged {
    async fn connect(&self, endpoint: &Endpoint) -> Result<AsyncPgConnection> {
        let url = format!("postgres://nobody:nobody@{endpoint}/app");
        let opened = AsyncPgConnection::establish(&url).await;
        opened.map_err(|error| Error::ConnectionLost { reason: error.to_string() })
    }
}

/// A cluster whose servers refuse these functions to the role `nobody`.
async fn refusing(functions: &[&str], standbys: usize) -> Cluster {
    let cluster = Cluster::builder().standbys(standbys).start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute("CREATE ROLE nobody LOGIN PASSWORD 'nobody'; CREATE TABLE t ()").await.unwrap();
    for function in functions {
        let revoke = format!("REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC");
        conn.batch_execute(&revoke).await.unwrap();
    }
    for standby in 1..=standbys {
        cluster.wait_until_caught_up(standby).await.unwrap();
    }
    cluster
}

async fn unprivileged(nodes: Vec<Endpoint>) -> Router<Kept> {
    let signals = Signals::default();
    let settings = RouterConfig { max_lag: Duration::from_secs(600), ..config() };
    let router = Router::start(nodes, kept(&signals), |_| Unprivileged, settings, signals);
    router.settle(PATIENCE).await;
    router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_position_is_to_be_had_lag_is_known_in_time_and_tokens_lead_to_the_primary() {
    let hidden = [
        "pg_control_system",
        "pg_control_checkpoint",
        "pg_current_wal_lsn",
        "pg_current_wal_flush_lsn",
        "pg_last_wal_replay_lsn",
        "pg_last_wal_receive_lsn",
    ];
    let cluster = refusing(&hidden, 1).await;
    let router = unprivileged(vec![node(&cluster, 1), node(&cluster, 0)]).await;
    assert_eq!(router.topology().writer, Some(node(&cluster, 0)));
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 1));
    let standby = router.topology().nodes[0].clone();
    assert_eq!((standby.timeline, standby.lag_bytes), (None, None));
    assert!(standby.lag.is_some_and(|lag| lag > Duration::ZERO));

    let token = Token::read(&cluster.connect(0).await.unwrap()).await.unwrap().unwrap();
    assert_eq!(answering(&router, Freshness::AtLeast(token)).await, node(&cluster, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_function_that_is_refused_costs_only_what_it_tells() {
    let cluster = refusing(&["pg_control_system"], 1).await;
    let alias = Endpoint::new("localhost", node(&cluster, 0).port());
    let router = unprivileged(vec![node(&cluster, 1), node(&cluster, 0), alias]).await;
    let topology = router.topology();
    assert!(topology.writer.is_some(), "one server under two names is one primary: {topology}");
    assert_eq!(topology.conflict, None);
    until("the standby's lag is known by positions", async || {
        let standby = router.topology().nodes[0].clone();
        (standby.timeline, standby.lag_bytes, standby.lag) == (Some(1), Some(0), Some(Duration::ZERO))
    })
    .await;
}

/// The name of a managed service's writer leads elsewhere after a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_moves_to_the_new_primary_is_followed() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let name = Arc::new(Proxy::start(cluster.address_of(0).unwrap()).unwrap());
    let at = Endpoint::new("127.0.0.1", name.port());
    let router = router_with(vec![at.clone()], config()).await;
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE before_it ()").await.unwrap();
    drop(conn);
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;
    cluster.promote(1).await.unwrap();
    name.redirect(cluster.address_of(1).unwrap()).unwrap();
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE after_it ()").await.unwrap();
    assert_eq!(router.topology().writer, Some(at));
}

/// Nothing ends on the old server: only a new look at the name tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_moves_while_the_old_server_lives_is_resolved_again() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let name = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let at = Endpoint::new("localhost", name.port());
    let settings = RouterConfig { resolve_interval: Duration::from_millis(200), ..config() };
    let router = router_with(vec![at], settings).await;
    let port = async || {
        let mut conn = router.writer().acquire().await.unwrap();
        number(&mut conn, "SELECT current_setting('port')::int8 AS n").await
    };
    let port_of = |server: usize| i64::from(node(&cluster, server).port());
    assert_eq!(port().await, port_of(0));
    cluster.promote(1).await.unwrap();
    name.redirect(cluster.address_of(1).unwrap()).unwrap();
    until("the new server is found", async || port().await == port_of(1)).await;
}

/// Two standbys behind one name, one of which does not replay: the monitor asks one, the pool leads to both.
async fn balanced(cluster: &Cluster) -> (Balancer, Router<Kept>) {
    let standbys = [cluster.address_of(1).unwrap(), cluster.address_of(2).unwrap()];
    let balancer = Balancer::start(standbys).unwrap();
    let reader = Endpoint::new("127.0.0.1", balancer.address().port());
    let settings = RouterConfig { resolve_interval: Duration::from_millis(200), ..config() };
    let router = router_with(vec![node(cluster, 0), reader], settings).await;
    (balancer, router)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_read_behind_a_name_uses_only_the_server_whose_position_is_known() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let (_balancer, router) = balanced(&cluster).await;
    let mut writer = router.writer().acquire().await.unwrap();
    writer.batch_execute("CREATE TABLE counter (n int8); INSERT INTO counter VALUES (0)").await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.wait_until_caught_up(2).await.unwrap();
    cluster.pause_replay(2).await.unwrap();
    let mut stale = 0;
    for round in 1..=10 {
        writer.batch_execute("UPDATE counter SET n = n + 1").await.unwrap();
        let token = Token::read(&writer).await.unwrap().unwrap();
        cluster.wait_until_caught_up(1).await.unwrap();
        let by_name = router.topology().nodes[1].endpoint.clone();
        until("one behind the name is known to have replayed it", async || {
            answering(&router, Freshness::AtLeast(token)).await == by_name
        })
        .await;
        for turn in 0..10 {
            // Held meanwhile, and given back first or last, so that the pool lends the others by turns.
            let held = router.reader(Freshness::Any).acquire().await.unwrap();
            let mut conn = router.reader(Freshness::AtLeast(token)).acquire().await.unwrap();
            stale += i32::from(number(&mut conn, "SELECT n FROM counter").await < round);
            let (first, last) = if turn % 2 == 0 { (held, conn) } else { (conn, held) };
            drop(first);
            drop(last);
        }
    }
    assert_eq!(stale, 0);
    until("the name is seen to alternate", async || router.topology().nodes[1].leads_to_several).await;
}

/// Two standbys behind one name, the second of which does not replay, and a row that only the first has. The
/// monitor's own connection leads to this one of them, and stays there.
async fn split(cluster: &Cluster, monitored: usize, settings: RouterConfig) -> (Balancer, Router<Kept>) {
    let mut writer = cluster.connect(0).await.unwrap();
    writer.batch_execute("CREATE TABLE counter (n int8); INSERT INTO counter VALUES (0)").await.unwrap();
    for standby in 1..=2 {
        cluster.wait_until_caught_up(standby).await.unwrap();
    }
    cluster.pause_replay(2).await.unwrap();
    let standbys = [monitored, 3 - monitored].map(|standby| cluster.address_of(standby).unwrap());
    let balancer = Balancer::start(standbys).unwrap();
    let reader = Endpoint::new("127.0.0.1", balancer.address().port());
    let router = router_with(vec![node(cluster, 0), reader], settings).await;
    writer.batch_execute("UPDATE counter SET n = 1").await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    (balancer, router)
}

/// Of sixty reads, three at once each time: the one server that may answer has its connections in the same
/// pool.
const FAIR_SHARE: usize = 20;

/// Whether all of some reads at once saw the row, and how many of them the name answered.
async fn at_once(router: &Router<Kept>, freshness: Freshness) -> (bool, usize) {
    const READS: usize = 3;
    let (mut held, mut by_name, mut fresh) = (Vec::new(), 0, true);
    for _ in 0..READS {
        let mut conn = router.reader(freshness).acquire().await.unwrap();
        fresh &= number(&mut conn, "SELECT n FROM counter").await == 1;
        by_name += usize::from(*conn.endpoint() == router.topology().nodes[1].endpoint);
        held.push(conn);
    }
    (fresh, by_name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_from_the_fresh_one_of_two_standbys_behind_a_name() {
    for monitored in 1..=2 {
        let cluster = Cluster::builder().standbys(2).start().await.unwrap();
        let (_balancer, router) = split(&cluster, monitored, config()).await;
        let token = Token::read(&cluster.connect(0).await.unwrap()).await.unwrap().unwrap();
        cluster.wait_until_caught_up(1).await.unwrap();
        let reads = async || {
            let (fresh, by_name) = at_once(&router, Freshness::AtLeast(token)).await;
            assert!(fresh, "a stale read, with the monitor at {monitored}");
            by_name
        };
        until("the name answers a session's read", async || reads().await > 0).await;
        let mut answered = 0;
        for _ in 0..20 {
            answered += reads().await;
        }
        assert!(answered >= FAIR_SHARE, "{answered} of 60 by the name, with the monitor at {monitored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_behind_a_name_is_older_than_what_is_allowed() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let settings = RouterConfig { max_lag: Duration::from_secs(1), ..config() };
    let (_balancer, router) = split(&cluster, 1, settings).await;
    let written = Instant::now();
    // A probe may take its timeout, and the lag that is allowed comes on top.
    let too_old = Duration::from_secs(1) + RouterConfig::default().probe_timeout * 2;
    until("the row is older than what is allowed", async || written.elapsed() > too_old).await;
    until("the servers behind the name are known", async || {
        at_once(&router, Freshness::Default).await;
        drop(router.reader(Freshness::Since(std::time::UNIX_EPOCH)).acquire().await.unwrap());
        router.topology().nodes[1].leads_to_several
    })
    .await;
    until("each of them is", async || router.topology().nodes[1].servers == 2).await;
    let mut answered = 0;
    for _ in 0..20 {
        let (fresh, by_name) = at_once(&router, Freshness::Default).await;
        assert!(fresh, "older than a second");
        answered += by_name;
    }
    assert!(answered >= FAIR_SHARE, "{answered} of 60 by the name");
}

/// Nobody can tell what it has replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_tell_its_server_answers_no_read_with_a_token() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let (signals, urls) = (Signals::default(), [cluster.url_of(0).unwrap(), cluster.url_of(1).unwrap()]);
    let at = [node(&cluster, 0), node(&cluster, 1)];
    let places = at.clone();
    let open = move |endpoint: &Endpoint, _| Source::opening(&*urls[usize::from(*endpoint == places[1])]);
    let router = Router::start(at.clone(), open, |_| Opener, config(), signals);
    router.settle(PATIENCE).await;
    let read = async |freshness| router.reader(freshness).acquire().await.unwrap().endpoint().clone();
    until("the standby answers", async || read(Freshness::Default).await == at[1]).await;
    let conn = router.writer().acquire().await.unwrap();
    let token = Token::read(&conn).await.unwrap().unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    until("it is known to have the token", async || router.topology().nodes[1].lag_bytes == Some(0)).await;
    assert_eq!(read(Freshness::AtLeast(token)).await, at[0]);
}

/// A load balancer's address, which leads to a standby for a moment: the monitor's own connection stays
/// there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_behind_an_address_that_led_to_a_standby_is_found_again_within_a_second() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let primary = cluster.address_of(0).unwrap();
    let balancer = Balancer::start([primary]).unwrap();
    let at = Endpoint::new("127.0.0.1", balancer.address().port());
    let router = router_with(vec![at], config()).await;
    drop(router.writer().acquire().await.unwrap());
    balancer.lead_to([cluster.address_of(1).unwrap()]);
    balancer.cut();
    until("it leads to a standby", async || router.topology().nodes[0].role == Some(Role::Standby)).await;
    balancer.lead_to([primary]);
    let started = Instant::now();
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE after_it ()").await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

/// Another region, with a login of several round trips: it takes longer to open a connection than a near node
/// is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_far_away_is_found_and_stays_up() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let far = Proxy::start(cluster.address_of(1).unwrap()).unwrap();
    far.delay(Direction::ToServer, Duration::from_millis(350), Duration::ZERO);
    let nodes = vec![node(&cluster, 0), Endpoint::new("127.0.0.1", far.port())];
    let router = router_with(nodes, RouterConfig::default()).await;
    let status = || router.topology().nodes[1].clone();
    until("it is found", async || status().is_up()).await;
    let before = status().probes;
    until("it was asked again and again", async || {
        assert!(status().is_up(), "{}", status());
        status().probes >= before + 5
    })
    .await;
    assert!(status().probe_deadline > RouterConfig::default().probe_timeout, "{:?}", status());
    assert_eq!(answering(&router, Freshness::Default).await, status().endpoint);
}
