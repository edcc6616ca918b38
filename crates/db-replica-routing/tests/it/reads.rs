//! Who answers reads.

use std::panic::Location;
use std::time::Duration;

use db_core::{Acquire, Error, Facts, Report, Role};
use db_replica_routing::{Fallback, Freshness, NodeConfig, Purpose, RouterConfig, Token};
use db_testkit::{Cluster, Stop, until};
use diesel_async::SimpleAsyncConnection;

use crate::sources::known;
use crate::{answering, backend, config, node, nodes, number, router, router_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_leaves_a_standby_that_died_and_comes_back_to_it() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 1));
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("it is seen down", async || !router.topology().nodes[0].is_up()).await;
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 0));
    assert_eq!(router.topology().reads.fallback, 1);
    cluster.start(1).await.unwrap();
    until("it answers again", async || answering(&router, Freshness::Default).await == node(&cluster, 1))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freshness_chooses_who_may_answer() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    let (primary, standby) = (node(&cluster, 0), node(&cluster, 1));
    assert_eq!(answering(&router, Freshness::Primary).await, primary);

    cluster.pause_replay(1).await.unwrap();
    let mut writer = router.writer().acquire().await.unwrap();
    writer.batch_execute("CREATE TABLE late ()").await.unwrap();
    let lag = || router.topology().nodes[0].lag;
    until("the standby lags", async || lag().is_none_or(|lag| lag > Duration::from_millis(200))).await;
    assert!(router.topology().nodes[0].lag_bytes.unwrap() > 0);
    assert_eq!(answering(&router, Freshness::Within(Duration::from_millis(200))).await, primary);
    assert_eq!(answering(&router, Freshness::Any).await, standby);
}

/// What an idle connection answers at once is what a wait would have led to, and is counted alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_given_at_once_where_no_wait_could_lead_elsewhere() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    let (primary, standby) = (node(&cluster, 0), node(&cluster, 1));
    let now = |freshness| router.reader(freshness).acquire_now(Location::caller());
    let at = |freshness| now(freshness).map(|conn| conn.endpoint().clone());
    assert_eq!(at(Freshness::Default), None, "no connection is open yet");
    drop(router.reader(Freshness::Default).acquire().await.unwrap());
    drop(router.reader(Freshness::Primary).acquire().await.unwrap());
    drop(router.writer().acquire().await.unwrap());
    let before = router.topology().reads;
    assert_eq!(at(Freshness::Default), Some(standby.clone()));
    assert_eq!(at(Freshness::Primary), Some(primary.clone()));
    let reads = router.topology().reads;
    assert_eq!((reads.fresh, reads.primary), (before.fresh + 1, before.primary + 1));
    let held = now(Freshness::Default).unwrap();
    assert_eq!(at(Freshness::Default), None, "its only connection is in use");
    drop(held);
    let writer = router.writer().acquire_now(Location::caller()).unwrap();
    assert_eq!(*writer.endpoint(), primary);
    // A read in a session may wait for the standby, and must not be sent on before that was tried.
    cluster.pause_replay(1).await.unwrap();
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE late ()").await.unwrap();
    let token = Token::read(&conn).await.unwrap().unwrap();
    assert_eq!(at(Freshness::AtLeast(token)), None);
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("it is seen down", async || !router.topology().nodes[0].is_up()).await;
    assert_eq!(at(Freshness::Default), None, "whether the primary may take its place is not settled here");
}

/// Where there are no standbys there is nothing to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_the_primary_answers_every_read_at_once() {
    let cluster = Cluster::builder().start().await.unwrap();
    let router = router(&cluster).await;
    drop(router.reader(Freshness::Default).acquire().await.unwrap());
    let token = Token::read(&router.writer().acquire().await.unwrap()).await.unwrap().unwrap();
    let before = router.topology().reads;
    for freshness in [Freshness::Default, Freshness::Any, Freshness::AtLeast(token)] {
        let mut conn = router.reader(freshness).acquire_now(Location::caller()).unwrap();
        let refused = Error::from(conn.batch_execute("CREATE TABLE t ()").await.unwrap_err());
        assert_eq!(refused.sqlstate().unwrap().as_str(), "25006", "{freshness:?}: {refused}");
    }
    let reads = router.topology().reads;
    assert_eq!((reads.fallback, reads.token_fallback), (before.fallback + 2, before.token_fallback + 1));
    let ahead = Token { timeline: token.timeline + 1, ..token };
    let of_another = router.reader(Freshness::AtLeast(ahead)).acquire_now(Location::caller());
    assert!(of_another.is_none(), "a failover that nobody has seen here is waited for");
    router.stop();
    assert!(router.reader(Freshness::Default).acquire_now(Location::caller()).is_none());
    assert!(router.writer().acquire_now(Location::caller()).is_none());
}

/// It may become the writer all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_kept_from_reads_answers_none() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let kept = NodeConfig { reads: false, ..node(&cluster, 1).into() };
    let nodes = vec![node(&cluster, 0).into(), kept, node(&cluster, 2).into()];
    let router = router_with::<NodeConfig>(nodes, config()).await;
    for freshness in [Freshness::Default, Freshness::Any].repeat(20) {
        assert_eq!(answering(&router, freshness).await, node(&cluster, 2));
    }
    assert!(router.topology().node(&node(&cluster, 1)).unwrap().withheld);
    cluster.kill(0).await.unwrap();
    cluster.promote(1).await.unwrap();
    let writer = router.writer().acquire().await.unwrap();
    assert_eq!(*writer.endpoint(), node(&cluster, 1));
}

/// A standby's sessions refuse writes by themselves; the primary's must be told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_a_read_is_refused_wherever_it_lands() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    for freshness in [Freshness::Any, Freshness::Primary] {
        let mut conn = router.reader(freshness).acquire().await.unwrap();
        let error = Error::from(conn.batch_execute("CREATE TABLE t ()").await.unwrap_err());
        assert_eq!(error.sqlstate().unwrap().as_str(), "25006", "{freshness:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_failed_a_read_is_out_of_use_until_a_probe_finds_it_alive() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let settings = RouterConfig {
        probe_interval: Duration::from_secs(20),
        search_interval: Duration::from_secs(1),
        ..RouterConfig::default()
    };
    let router = router_with(nodes(&cluster), settings).await;
    let standby = node(&cluster, 1);
    let reader = router.reader(Freshness::Default);
    let mut conn = reader.acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), standby);
    reader.report(&mut conn, Report::ServerGone);
    assert_ne!(*reader.acquire().await.unwrap().endpoint(), standby);
    // The alarm hastens the probe, which is not due for another twenty seconds.
    until("it answers again", async || *reader.acquire().await.unwrap().endpoint() == standby).await;
}

/// A standby that is cut off has replayed all that it received: only the primary's position tells that it is
/// behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_cut_off_from_a_busy_primary_lags() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    let mut writer = router.writer().acquire().await.unwrap();
    let sender = number(&mut writer, "SELECT pid::bigint AS n FROM pg_stat_replication").await.to_string();
    let signal = |signal: &str| {
        let told = std::process::Command::new("kill").args([signal, &sender]).status().unwrap();
        assert!(told.success());
    };
    signal("-STOP");
    writer.batch_execute("CREATE TABLE late ()").await.unwrap();
    let lag = || router.topology().nodes[0].lag;
    until("the standby lags", async || lag().is_none_or(|lag| lag > Duration::from_millis(300))).await;
    signal("-CONT");
    until("it has caught up", async || lag() == Some(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_replay_cancelled_goes_to_another_standby_and_then_to_the_primary() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let router = router(&cluster).await;
    until("both are up", async || router.topology().nodes.iter().all(|node| node.is_up())).await;
    let reader = router.reader(Freshness::Any);
    let mut visited = Vec::new();
    for _ in 0..3 {
        let mut conn = reader.acquire().await.unwrap();
        visited.push(conn.endpoint().clone());
        reader.report(&mut conn, Report::Conflict);
    }
    assert_eq!(visited[2], node(&cluster, 0));
    assert_ne!(visited[0], visited[1]);
    assert_ne!(answering(&router, Freshness::Any).await, node(&cluster, 0), "the next read starts anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_failed_on_the_primary_does_not_hold_up_writes() {
    let cluster = Cluster::builder().start().await.unwrap();
    // No probe is due within the test: whoever waited for one would wait for longer than it takes.
    let long = Duration::from_secs(600);
    let settings = RouterConfig { probe_interval: long, search_interval: long, ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    let reader = router.reader(Freshness::Default);
    let mut conn = reader.acquire().await.unwrap();
    reader.report(&mut conn, Report::ServerGone);
    let writer = router.writer();
    let acquired = tokio::time::timeout(Duration::from_secs(2), writer.acquire()).await;
    assert!(acquired.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_may_be_kept_from_the_primary() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let settings = RouterConfig { fallback: Fallback::Error, ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 1));
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("it is seen down", async || !router.topology().nodes[0].is_up()).await;
    let refused = router.reader(Freshness::Default).acquire().await.err().unwrap();
    assert!(matches!(refused, Error::NoServer { role: Role::Standby, .. }), "{refused}");
    assert_eq!(answering(&router, Freshness::Primary).await, node(&cluster, 0), "who asks for it gets it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_primary_a_stale_standby_still_answers_ordinary_reads() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let settings = RouterConfig { max_lag: Duration::from_millis(100), ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    cluster.pause_replay(1).await.unwrap();
    router.writer().acquire().await.unwrap().batch_execute("CREATE TABLE late ()").await.unwrap();
    until("it is stale", async || answering(&router, Freshness::Default).await == node(&cluster, 0)).await;
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;
    let mut conn = router.reader(Freshness::Default).acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), node(&cluster, 1));
    assert!(backend(&mut conn).await > 0);
}

/// The router's own wrappers hide nothing of the source that a connection came from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_a_connection_and_told_of_it_goes_to_and_from_its_own_source() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    async fn check(from: &impl Acquire, purpose: Purpose) {
        let mut conn = from.acquire().await.unwrap();
        assert_eq!(Facts { server: None, ..from.facts(&conn) }, known(purpose));
        assert!(from.facts(&conn).server.is_some());
        for what in [Report::Conflict, Report::CommitUnanswered, Report::ServerGone] {
            from.report(&mut conn, what);
        }
        assert_eq!(from.facts(&conn).commits, Some(3), "each report is counted by the source");
    }
    check(&router.reader(Freshness::Any), Purpose::Plain).await;
    check(&router.reader(Freshness::Primary), Purpose::ReadOnly).await;
    check(&router.writer(), Purpose::Plain).await;
}
