//! Clusters, broken and mended.

use crate::{connect, one};
use db_testkit::{Cluster, Stop};
use diesel_async::SimpleAsyncConnection;

#[tokio::test]
async fn two_clusters_run_side_by_side() {
    let (one_cluster, other) = tokio::join!(
        Cluster::builder().standbys(1).start(),
        Cluster::builder().setting("work_mem", "7MB").start(),
    );
    let (one_cluster, other) = (one_cluster.unwrap(), other.unwrap());
    one_cluster.connect(0).await.unwrap().batch_execute("CREATE TABLE only_here ()").await.unwrap();
    one_cluster.wait_until_caught_up(1).await.unwrap();
    let here = "SELECT to_regclass('only_here') IS NOT NULL";
    let standby = connect(&one_cluster.url_of(1).unwrap()).await.unwrap();
    assert!(one::<bool>(&standby, here).await);
    assert!(one::<bool>(&standby, "SELECT pg_is_in_recovery()").await);
    let primary = connect(&other.primary_url()).await.unwrap();
    assert!(!one::<bool>(&primary, here).await);
    assert_eq!(one::<String>(&primary, "SHOW work_mem").await, "7MB");
    assert_eq!((one_cluster.standby_urls().len(), other.standby_urls().len()), (1, 0));
    assert!(other.connect(1).await.is_err(), "there is no server 1");
}

#[tokio::test]
async fn a_promoted_standby_takes_writes_and_the_killed_primary_comes_back_behind_it() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    cluster.connect(0).await.unwrap().batch_execute("CREATE TABLE t (n int)").await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.kill(0).await.unwrap();
    assert_eq!(cluster.pid(0).unwrap(), None);
    cluster.promote(1).await.unwrap();
    assert_eq!(cluster.primary(), 1);
    assert_eq!(cluster.primary_url(), cluster.url_of(1).unwrap());
    cluster.connect(1).await.unwrap().batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    cluster.wait_until_caught_up(2).await.unwrap();
    cluster.rejoin(0).await.unwrap();
    cluster.standbys_streaming().await.unwrap();
    cluster.wait_until_caught_up(0).await.unwrap();
    let old = connect(&cluster.url_of(0).unwrap()).await.unwrap();
    assert_eq!(one::<i64>(&old, "SELECT count(*) FROM t").await, 1);
    assert!(one::<bool>(&old, "SELECT pg_is_in_recovery()").await);
}

#[tokio::test]
async fn a_stopped_server_is_gone_until_it_is_started_on_its_port() {
    let cluster = Cluster::builder().start().await.unwrap();
    let url = cluster.primary_url();
    for how in [Stop::Fast, Stop::Immediate] {
        cluster.stop(0, how).await.unwrap();
        assert!(connect(&url).await.is_err());
        cluster.start(0).await.unwrap();
        assert!(connect(&url).await.is_ok());
    }
    let before = cluster.pid(0).unwrap();
    cluster.restart(0).await.unwrap();
    assert_ne!(cluster.pid(0).unwrap(), before);
    assert!(connect(&url).await.is_ok());
}

#[tokio::test]
async fn a_paused_server_answers_nothing_until_it_is_resumed() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = connect(&cluster.primary_url()).await.unwrap();
    cluster.pause(0).await.unwrap();
    let mut query = Box::pin(client.query_one("SELECT 1", &[]));
    assert!(tokio::time::timeout(crate::SILENCE, &mut query).await.is_err());
    cluster.resume(0).await.unwrap();
    assert!(tokio::time::timeout(crate::LIMIT, query).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_standby_whose_replay_is_paused_answers_with_old_data() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let standby = connect(&cluster.url_of(1).unwrap()).await.unwrap();
    cluster.pause_replay(1).await.unwrap();
    cluster.connect(0).await.unwrap().batch_execute("CREATE TABLE late ()").await.unwrap();
    let received = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()";
    crate::until("receiving goes on", async || one(&standby, received).await).await;
    assert!(!one::<bool>(&standby, "SELECT to_regclass('late') IS NOT NULL").await);
    let caught_up = tokio::time::timeout(crate::SILENCE, cluster.wait_until_caught_up(1)).await;
    assert!(caught_up.is_err(), "{caught_up:?}");
    cluster.resume_replay(1).await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    assert!(one::<bool>(&standby, "SELECT to_regclass('late') IS NOT NULL").await);
}

#[tokio::test]
async fn settings_reach_the_server_that_they_are_meant_for() {
    let cluster =
        Cluster::builder().standbys(1).setting_of(1, "recovery_min_apply_delay", "1h").start().await.unwrap();
    for (server, expected) in [(0, "0"), (1, "1h")] {
        let client = connect(&cluster.url_of(server).unwrap()).await.unwrap();
        assert_eq!(one::<String>(&client, "SHOW recovery_min_apply_delay").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_stop_the_kit() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute("CREATE TABLE t ()").await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    // With the clock paused, a timeout that depends on it fires at once.
    cluster.pause_replay(1).await.unwrap();
    cluster.resume_replay(1).await.unwrap();
    cluster.restart(0).await.unwrap();
    cluster.standbys_streaming().await.unwrap();
}
