//! Each way in which commits may have been missed ends in a fresh epoch, and is counted under its name.

use db_cache::History;
use db_cache::relay::Accident;
use db_testkit::{Cluster, skip, until};

use crate::relayed::{Running, Scene, users};

/// Stops the relay, lets `accident` happen and a commit be missed, and starts a relay again.
async fn check(scene: &Scene, expected: Accident, accident: impl AsyncFnOnce()) -> Running {
    let before = scene.epoch().await;
    scene.touch(&[users()]).await;
    accident().await;
    let relay = scene.lead().await;
    assert_eq!(relay.accidents(expected), 1, "{:?}", relay.relay.status());
    assert_ne!(scene.epoch().await.generation, before.generation);
    relay
}

async fn stopped(scene: &Scene) {
    scene.lead().await.kill().await;
    until("its session has ended", async || {
        scene.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await == "0"
    })
    .await;
}

const DROP: &str = "SELECT pg_drop_replication_slot('db_cache')";

#[tokio::test]
async fn a_slot_that_is_gone_is_noticed_while_the_relay_runs_and_after() {
    let scene = Scene::logical().await;
    stopped(&scene).await;
    let relay = check(&scene, Accident::Missing, async || scene.run(DROP).await).await;
    let before = scene.epoch().await.generation;
    until("it is dropped between two looks", async || {
        use diesel_async::SimpleAsyncConnection;
        scene.connect().await.batch_execute(DROP).await.is_ok()
    })
    .await;
    until("it is noticed", async || relay.accidents(Accident::Missing) == 2).await;
    assert_ne!(scene.epoch().await.generation, before);
}

#[tokio::test]
async fn a_slot_whose_log_is_gone_is_made_anew() {
    let scene = Scene::logical().await;
    stopped(&scene).await;
    scene.run("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'").await;
    scene.run("ALTER SYSTEM SET wal_keep_size = 0; ").await;
    scene.run("SELECT pg_reload_conf()").await;
    let lose = async || {
        until("the slot is lost", async || {
            scene.run("SELECT pg_switch_wal()").await;
            scene.run("CREATE TABLE IF NOT EXISTS filler AS SELECT 1; DROP TABLE filler").await;
            scene.run("CHECKPOINT").await;
            scene.ask("SELECT wal_status FROM pg_replication_slots").await == "lost"
        })
        .await;
    };
    let _relay = check(&scene, Accident::Lost, lose).await;
    assert_ne!(scene.ask("SELECT wal_status FROM pg_replication_slots").await, "lost");
}

#[tokio::test]
async fn a_slot_that_timed_out_is_made_anew() {
    let cluster = Cluster::builder()
        .version(18)
        .setting("wal_level", "logical")
        .setting("idle_replication_slot_timeout", "1s")
        .start();
    let Some(cluster) = skip::without(cluster.await) else { return };
    let scene = Scene::on(cluster);
    stopped(&scene).await;
    let time_out = async || {
        until("the slot has timed out", async || {
            scene.run("CHECKPOINT").await;
            scene.ask("SELECT invalidation_reason FROM pg_replication_slots").await == "idle_timeout"
        })
        .await;
    };
    check(&scene, Accident::TimedOut, time_out).await;
}

#[tokio::test]
async fn a_slot_that_did_not_come_along_in_a_failover_is_made() {
    let cluster = Cluster::builder().standbys(1).setting("wal_level", "logical").start().await.unwrap();
    let scene = Scene::on(cluster);
    stopped(&scene).await;
    let fail_over = async || {
        scene.cluster.wait_until_caught_up(1).await.unwrap();
        scene.cluster.kill(0).await.unwrap();
        scene.cluster.promote(1).await.unwrap();
    };
    let before = scene.epoch().await.history.unwrap();
    check(&scene, Accident::NotCarriedOver, fail_over).await;
    let now = scene.epoch().await.history.unwrap();
    assert_eq!(now, History { timeline: before.timeline + 1, ..before });
}

#[tokio::test]
async fn a_slot_of_that_name_on_a_new_primary_is_not_trusted() {
    let cluster = Cluster::builder().standbys(1).setting("wal_level", "logical").start().await.unwrap();
    let scene = Scene::on(cluster);
    stopped(&scene).await;
    let fail_over = async || {
        scene.cluster.wait_until_caught_up(1).await.unwrap();
        scene.cluster.kill(0).await.unwrap();
        scene.cluster.promote(1).await.unwrap();
        scene.run("SELECT pg_create_logical_replication_slot('db_cache', 'pgoutput')").await;
    };
    check(&scene, Accident::OtherHistory, fail_over).await;
}

#[tokio::test]
async fn a_slot_that_no_relay_knows_is_a_leftover() {
    let scene = Scene::logical().await;
    scene.run("SELECT pg_create_logical_replication_slot('db_cache', 'pgoutput')").await;
    let relay = scene.lead().await;
    assert_eq!(relay.accidents(Accident::Leftover), 1);
}

#[tokio::test]
async fn a_slot_of_another_database_is_left_alone() {
    let scene = Scene::logical().await;
    scene.run("CREATE DATABASE other").await;
    let url = scene.cluster.primary_url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let mut other = <diesel_async::AsyncPgConnection as diesel_async::AsyncConnection>::establish(&format!(
        "{server}/other"
    ))
    .await
    .unwrap();
    let make = "SELECT pg_create_logical_replication_slot('db_cache', 'pgoutput')";
    diesel_async::SimpleAsyncConnection::batch_execute(&mut other, make).await.unwrap();
    let relay = scene.lead().await;
    assert_eq!(relay.accidents(Accident::Shadowed), 1);
    let before = scene.open(users()).await.generation;
    scene.touch(&[users()]).await;
    scene.until_bumped(users(), before).await;
    assert_eq!(
        scene.ask("SELECT database FROM pg_replication_slots WHERE slot_name = 'db_cache'").await,
        "other"
    );
    // The next one finds the slot that this one made.
    relay.kill().await;
    let next = scene.lead().await;
    assert!(next.relay.status().accidents.is_empty());
}

#[tokio::test]
async fn a_slot_that_somebody_else_has_read_is_not_trusted() {
    let scene = Scene::logical().await;
    stopped(&scene).await;
    let read = "SELECT count(*) FROM pg_logical_slot_get_binary_changes('db_cache', NULL, NULL, \
                'proto_version', '1', 'publication_names', 'db_cache', 'messages', 'true')";
    check(&scene, Accident::ReadByOthers, async || scene.run(read).await).await;
}
