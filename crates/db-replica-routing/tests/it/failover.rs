//! The writer changes: it is found, followed, and waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_core::{Acquire, Connect, Endpoint, Error, Report, Role};
use db_replica_routing::{Freshness, Policy, Purpose, Router, RouterConfig, Signals, Token};
use db_testkit::{Cluster, Direction, Proxy, Stop, until};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::task::JoinSet;

use crate::{
    Kept, Opener, PATIENCE, answering, backend, config, kept, node, nodes, number, router, router_with,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_found_out() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let router = router(&cluster).await;
    let topology = router.topology();
    assert_eq!(topology.writer, Some(node(&cluster, 0)));
    let roles: Vec<_> = topology.nodes.iter().map(|node| node.role.unwrap()).collect();
    assert_eq!(roles, [Role::Standby, Role::Standby, Role::Primary]);
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE t ()").await.unwrap();
    assert_eq!(router.sources(|purpose, _| purpose), [Purpose::Plain; 3]);
}

/// The connection that a read used before is the one that the first write uses: no login stands between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_writer_is_followed_on_connections_that_are_open() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    let warm = backend(&mut router.reader(Freshness::Any).acquire().await.unwrap()).await;
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;

    // Nobody is turned away meanwhile.
    let mut writers = JoinSet::new();
    for _ in 0..20 {
        let router = router.clone();
        writers.spawn(async move {
            let mut conn = router.writer().acquire().await?;
            let read_only = number(&mut conn, "SELECT pg_is_in_recovery()::int4::int8 AS n").await;
            Ok::<_, Error>((read_only, backend(&mut conn).await))
        });
    }
    cluster.promote(1).await.unwrap();
    let mut backends = Vec::new();
    while let Some(wrote) = writers.join_next().await {
        let (in_recovery, backend) = wrote.unwrap().unwrap();
        assert_eq!(in_recovery, 0);
        backends.push(backend);
    }
    assert!(backends.contains(&warm), "{warm} {backends:?}");
    let topology = router.topology();
    assert_eq!((topology.writer, topology.failovers), (Some(node(&cluster, 1)), 1));
    assert!(topology.last_failover.unwrap() > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_switchover_moves_the_writer_and_the_old_one_comes_back_as_a_standby() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    router.writer().acquire().await.unwrap();
    cluster.stop(0, Stop::Fast).await.unwrap();
    cluster.promote(1).await.unwrap();
    let conn = router.writer().acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), node(&cluster, 1));
    cluster.rejoin(0).await.unwrap();
    until("it answers reads", async || answering(&router, Freshness::Default).await == node(&cluster, 0))
        .await;
    assert_eq!(router.topology().writer, Some(node(&cluster, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_writer_callers_wait_for_a_bounded_time_and_in_bounded_number() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let wait = Duration::from_millis(300);
    let settings = RouterConfig { writer_wait: wait, max_waiting: 1, ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;

    let started = Instant::now();
    let (writer, other) = (router.writer(), router.writer());
    let (first, second) = tokio::join!(writer.acquire(), other.acquire());
    let mut errors = [first.err().unwrap(), second.err().unwrap()];
    errors.sort_by_key(|error| matches!(error, Error::NoServer { .. }));
    let [full, waited] = errors;
    assert!(matches!(full, Error::QueueFull { waiting: 1, limit: 1, .. }), "{full}");
    let text = waited.to_string();
    assert!(text.contains("is a standby") && text.contains("does not answer"), "{text}");
    assert!(started.elapsed() >= wait && started.elapsed() < PATIENCE);
    // Reads go on all the while.
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 1));
}

/// A frozen server keeps its connections open and answers nothing: only a deadline notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_is_noticed_within_a_second_and_whoever_waits_for_its_answer_is_told() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let defaults = router_with(nodes(&cluster), RouterConfig::default()).await;
    let reader = defaults.reader(Freshness::Any);
    let mut conn = reader.acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), node(&cluster, 1));
    let gone = reader.server_down(&conn);
    cluster.pause(1).await.unwrap();
    let frozen = Instant::now();
    tokio::select! {
        told = tokio::time::timeout(PATIENCE, gone) => told.unwrap(),
        answer = backend(&mut conn) => panic!("a frozen server answered {answer}"),
    }
    let noticed = frozen.elapsed();
    assert!(noticed < Duration::from_millis(1_000), "{noticed:?}");
    assert_eq!(answering(&defaults, Freshness::Default).await, node(&cluster, 0));
    cluster.resume(1).await.unwrap();
    until("it answers again", async || answering(&defaults, Freshness::Default).await == node(&cluster, 1))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_whose_connection_failed_is_asked_before_it_is_used_again() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let settings = RouterConfig { probe_interval: Duration::from_secs(600), ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    let writer = router.writer();
    let mut conn = writer.acquire().await.unwrap();
    writer.report(&mut conn, Report::ServerGone);
    drop(conn);
    // The next probe is due in ten minutes: the doubt hastens it.
    let again = writer.acquire().await.unwrap();
    assert_eq!(*again.endpoint(), node(&cluster, 0));
    drop(again);

    let mut conn = writer.acquire().await.unwrap();
    cluster.kill(0).await.unwrap();
    writer.report(&mut conn, Report::ServerGone);
    cluster.promote(1).await.unwrap();
    assert_eq!(*writer.acquire().await.unwrap().endpoint(), node(&cluster, 1));
    let evictions: u64 = router.sources(|_, kept| kept.evictions()).into_iter().sum();
    assert_eq!(evictions, 0, "nothing was demoted alive");
}

/// Every node is asked again before the far one has answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_restarted_is_followed_while_a_far_standby_answers_slowly() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let far = Proxy::start(cluster.address_of(1).unwrap()).unwrap();
    let nodes = vec![node(&cluster, 0), Endpoint::new("127.0.0.1", far.port())];
    let settings = RouterConfig { writer_wait: PATIENCE, ..config() };
    let router = router_with(nodes, settings).await;
    for round in 0..5 {
        far.delay(Direction::ToServer, Duration::from_millis(60), Duration::ZERO);
        cluster.kill(0).await.unwrap();
        until("it is noticed", async || router.topology().writer.is_none()).await;
        cluster.start(0).await.unwrap();
        let started = Instant::now();
        drop(router.writer().acquire().await.unwrap());
        assert!(started.elapsed() < Duration::from_secs(2), "{round}: {:?}", started.elapsed());
        far.heal();
    }
}

/// Its process has heard of the failover from a client, and not yet from the servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_from_after_a_failover_leads_to_the_new_primary_while_the_old_one_is_still_there() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let seldom = RouterConfig { probe_interval: Duration::from_secs(60), ..config() };
    let router = router_with(nodes(&cluster), seldom).await;
    assert_eq!(router.topology().writer, Some(node(&cluster, 0)));
    cluster.promote(1).await.unwrap();
    let mut new = cluster.connect(1).await.unwrap();
    new.batch_execute("CREATE TABLE t ()").await.unwrap();
    let token = Token::read(&new).await.unwrap().unwrap();
    assert_eq!(answering(&router, Freshness::AtLeast(token)).await, node(&cluster, 1));
}

/// Connects once, and then hears nothing from the name server.
#[derive(Clone, Default)]
struct Unresolved(Arc<AtomicBool>);

impl Connect for Unresolved {
    async fn connect(&self, endpoint: &Endpoint) -> db_core::Result<AsyncPgConnection> {
        if self.0.swap(true, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Opener.connect(endpoint).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_that_says_nothing_is_no_reason_to_lose_the_writer() {
    let cluster = Cluster::builder().start().await.unwrap();
    let name = Endpoint::new("localhost", node(&cluster, 0).port());
    let settings = RouterConfig {
        probe_timeout: Duration::from_millis(200),
        resolve_interval: Duration::from_millis(100),
        ..config()
    };
    let signals = Signals::default();
    let connect = Unresolved::default();
    let open = kept(&signals);
    let router = Router::start([name], open, move |_| connect.clone(), settings, signals);
    router.settle(PATIENCE).await;
    let probes = || router.topology().nodes[0].probes;
    let before = probes();
    until("it was asked for its name several times", async || {
        let topology = router.topology();
        assert!(topology.writer.is_some(), "{topology}");
        probes() > before + 20
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_wakes_callers_that_wait_for_a_writer() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let settings = RouterConfig { writer_wait: Duration::MAX, ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { router.writer().acquire().await.err() }
    });
    until("a caller waits", async || router.topology().waiting == 1).await;
    router.stop();
    let told = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(matches!(told, Some(Error::PoolClosed { .. })), "{told:?}");
}

/// Each process asks every node: many of them would be a crowd.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_for_a_writer_slows_down() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router_with(vec![node(&cluster, 0), node(&cluster, 1)], RouterConfig::default()).await;
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;
    let probes = |server: usize| router.topology().nodes[server].probes;
    let asked = async |server: usize, times: u64| {
        let (before, started) = (probes(server), Instant::now());
        until("it was asked", async || probes(server) >= before + times).await;
        started.elapsed()
    };
    // The search begins fast; after a second it has slowed down.
    asked(1, 60).await;
    let (alive, dead) = tokio::join!(asked(1, 20), asked(0, 5));
    assert!(alive >= Duration::from_millis(700), "{alive:?}");
    assert!(dead >= Duration::from_millis(700), "{dead:?}");
}

/// A standby that was cut off is promoted while the old primary, which has more, goes on.
async fn promoted_without_the_last_rows(router: &Router<Kept>, cluster: &Cluster) {
    let mut writer = router.writer().acquire().await.unwrap();
    let sender = number(&mut writer, "SELECT pid::bigint AS n FROM pg_stat_replication").await.to_string();
    let stopped = std::process::Command::new("kill").args(["-STOP", &sender]).status().unwrap();
    assert!(stopped.success());
    let rows = "CREATE TABLE late AS SELECT generate_series(1, 500) AS n; SELECT pg_switch_wal()";
    writer.batch_execute(rows).await.unwrap();
    until("its position is known", async || {
        let lag = router.topology().node(&node(cluster, 1)).and_then(|node| node.lag_bytes);
        lag.is_some_and(|bytes| bytes > 0)
    })
    .await;
    cluster.promote(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_says_how_much_of_the_log_the_new_writer_lacks() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    promoted_without_the_last_rows(&router, &cluster).await;
    until("it is followed", async || router.topology().writer == Some(node(&cluster, 1))).await;
    let lacks = router.topology().last_failover_lacks_bytes;
    assert!(lacks.is_some_and(|bytes| bytes > 10_000), "{lacks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_can_be_refused_while_the_old_primary_answers() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let settings = RouterConfig { second_primary: Policy::Refuse, ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    promoted_without_the_last_rows(&router, &cluster).await;
    until("both are seen", async || router.topology().conflict.is_some()).await;
    let refused = router.writer().acquire().await.err().unwrap().to_string();
    assert!(refused.contains("was promoted to timeline 2") && refused.contains("shut one"), "{refused}");
    cluster.kill(0).await.unwrap();
    let writer = router.writer();
    until("the other one takes the writes", async || writer.acquire().await.is_ok()).await;
    assert_eq!(router.topology().writer, Some(node(&cluster, 1)));
}
