//! A session's reads see its own writes.

use std::time::{Duration, SystemTime};

use db_core::{Acquire, AroundCommit, CommitOutcome, Lsn};
use db_replica_routing::{Freshness, Router, RouterConfig, Session, Token, Written};
use db_testkit::{Cluster, until};
use diesel_async::SimpleAsyncConnection;

use crate::{Kept, answering, config, node, nodes, number, replayed, router, router_with};

async fn write(router: &Router<Kept>, session: &Session, sql: &str) {
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute(sql).await.unwrap();
    session.commit().after(Some(&mut conn), CommitOutcome::Committed).await;
}

/// With `synchronous_commit = off` the position that is written lies behind the one that is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_its_own_writes_on_standbys_that_lag() {
    let cluster = Cluster::builder()
        .standbys(1)
        .setting_of(1, "recovery_min_apply_delay", "30ms")
        .start()
        .await
        .unwrap();
    let settings = RouterConfig { token_wait: Duration::from_secs(2), ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    write(&router, &Session::new(), "CREATE TABLE counter (n int8); INSERT INTO counter VALUES (0)").await;
    let session = Session::new();
    for round in 0..40 {
        let off = if round % 2 == 0 { "off" } else { "on" };
        write(&router, &session, &format!("SET synchronous_commit = {off}; UPDATE counter SET n = n + 1"))
            .await;
        let mut conn = router.reader(session.freshness()).acquire().await.unwrap();
        assert_eq!(number(&mut conn, "SELECT n FROM counter").await, round + 1);
    }
    let reads = router.topology().reads;
    assert!(reads.token_after_wait > 20, "standbys answered, after a wait: {reads:?}");
    // The same token a moment later: it is known that the standby has it, and nobody waits.
    let token = session.token().unwrap();
    answering(&router, Freshness::AtLeast(token)).await;
    assert_eq!(router.topology().reads.token, reads.token + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_does_not_wait_has_the_primary_at_once_where_no_standby_has_the_token_yet() {
    let cluster =
        Cluster::builder().standbys(1).setting_of(1, "recovery_min_apply_delay", "2s").start().await.unwrap();
    let settings = RouterConfig { token_wait: Duration::from_secs(60), ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    let session = Session::new();
    write(&router, &session, "CREATE TABLE counter (n int8); INSERT INTO counter VALUES (7)").await;
    let at_once = router.reader(session.freshness()).without_waiting().acquire().await.unwrap();
    assert_eq!(at_once.endpoint(), &node(&cluster, 0));
    // Whoever waits has the standby, and so has whoever does not, once it is there.
    answering(&router, session.freshness()).await;
    let later = router.reader(session.freshness()).without_waiting().acquire().await.unwrap();
    assert_eq!(later.endpoint(), &node(&cluster, 1));
    let reads = router.topology().reads;
    assert_eq!((reads.token_fallback, reads.token_after_wait, reads.token), (1, 1, 1), "{reads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_no_standby_reaches_in_time_costs_a_read_from_the_primary() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    let session = Session::new();
    write(&router, &session, "CREATE TABLE early ()").await;
    until("it is replayed", async || answering(&router, session.freshness()).await == node(&cluster, 1))
        .await;
    let early = session.token().unwrap();

    cluster.pause_replay(1).await.unwrap();
    write(&router, &session, "CREATE TABLE late ()").await;
    assert_eq!(answering(&router, session.freshness()).await, node(&cluster, 0));
    assert_eq!(answering(&router, Freshness::AtLeast(early)).await, node(&cluster, 1));

    let forged = [
        Token { position: Lsn(u64::MAX), ..early },
        Token { system: 1, ..early },
        Token { timeline: 7, ..early },
    ];
    let before = router.topology().reads.token_fallback;
    for token in forged {
        assert_eq!(answering(&router, Freshness::AtLeast(token)).await, node(&cluster, 0), "{token}");
    }
    assert_eq!(router.topology().reads.token_fallback, before + 3);

    cluster.resume_replay(1).await.unwrap();
    until("it has caught up", async || answering(&router, session.freshness()).await == node(&cluster, 1))
        .await;
    let mut conn = router.reader(session.freshness()).acquire().await.unwrap();
    assert!(replayed(&mut conn).await >= session.token().unwrap().position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_from_before_a_failover_is_served_by_whoever_follows_the_new_primary() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let router = router(&cluster).await;
    let session = Session::new();
    write(&router, &session, "CREATE TABLE before_it ()").await;
    let old = session.token().unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.kill(0).await.unwrap();
    cluster.promote(1).await.unwrap();
    until("it is followed", async || router.topology().writer == Some(node(&cluster, 1))).await;
    write(&router, &session, "CREATE TABLE after_it ()").await;
    assert_eq!(session.token().unwrap().timeline, old.timeline + 1);
    until("the other standby follows", async || {
        answering(&router, session.freshness()).await == node(&cluster, 2)
    })
    .await;
    assert_eq!(answering(&router, Freshness::AtLeast(old)).await, node(&cluster, 2));
    let lost = Token { position: Lsn(u64::MAX), ..old };
    assert_eq!(answering(&router, Freshness::AtLeast(lost)).await, node(&cluster, 1), "no standby has that");
}

/// A write whose position nobody could tell is on the primary for sure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_a_token_sends_the_session_to_the_primary() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    let session = Session::new();
    let mut standby = router.reader(Freshness::Any).acquire().await.unwrap();
    // A standby has no position to tell: the statement fails there.
    session.commit().after(Some(&mut standby), CommitOutcome::Committed).await;
    assert_eq!(session.token(), None);
    assert_eq!(answering(&router, session.freshness()).await, node(&cluster, 0));
    let written = |ago| Session::resume(Written::Before(SystemTime::now() - ago)).freshness();
    assert_eq!(answering(&router, written(Duration::ZERO)).await, node(&cluster, 0));
    until("the standby has what was written long ago", async || {
        answering(&router, written(Duration::from_secs(60))).await == node(&cluster, 1)
    })
    .await;
    let future = Freshness::Since(SystemTime::now() + Duration::from_secs(60));
    assert_eq!(answering(&router, future).await, node(&cluster, 0), "forged");
    write(&router, &session, "CREATE TABLE t ()").await;
    until("the standby has it", async || answering(&router, session.freshness()).await == node(&cluster, 1))
        .await;
}
