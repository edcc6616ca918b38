//! The relay bumps what was committed, once readers can see it, and lets go of nothing before.

use std::time::Duration;

use db_cache::relay::{Accident, Message, Way, receipt};
use db_cache::simulation::{Faults, Operation};
use db_cache::{Fresh, SecondTier, Store, Tag, Writer};
use db_testkit::{Cluster, until};
use diesel_async::SimpleAsyncConnection;

use crate::relayed::{Scene, config, users};

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_commit_whose_writer_died_is_bumped_and_its_doubt_ends() {
    let scene = Scene::logical().await;
    let _relay = scene.lead().await;
    let before = scene.open(users()).await.generation;
    let writer = Writer(77);
    scene.tier.mark(writer, &Fresh(vec![(users(), before)]), LONG).await.unwrap();
    // The writer commits and is gone: nobody else bumps.
    let message = Message { writer: Some(writer), slots: vec![users()] };
    scene.run(&format!("BEGIN; {}; COMMIT", config().sql(&message))).await;
    scene.until_bumped(users(), before).await;
    assert_eq!(scene.slot(users()).await.doubt, None);
}

#[tokio::test]
async fn a_writer_that_has_bumped_is_left_alone() {
    let scene = Scene::logical().await;
    let relay = scene.lead().await;
    let before = scene.open(users()).await.generation;
    let key = receipt(Writer(5));
    let store = Store { key, bytes: vec![1], keep: LONG, release: None, learned: None };
    scene.tier.store(&store).await.unwrap();
    let message = Message { writer: Some(Writer(5)), slots: vec![users()] };
    scene.run(&config().sql(&message)).await;
    until("the relay has read it", async || relay.relay.status().confirmed == 1).await;
    assert_eq!(scene.slot(users()).await.generation, before);
}

#[tokio::test]
async fn any_write_to_a_watched_table_is_bumped_whoever_writes() {
    let scene = Scene::logical().await;
    let _relay = scene.lead().await;
    scene.run("CREATE SCHEMA \"Odd \"\"name\"; CREATE TABLE \"Odd \"\"name\".\"us'ers\" (id int)").await;
    let (schema, table, tag) = ("Odd \"name", "us'ers", Tag::table("users"));
    scene.run(&config().watch_sql(schema, table, &tag)).await;
    scene.open(users()).await;
    for sql in ["INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t", "TRUNCATE t"] {
        let before = scene.slot(users()).await.generation;
        scene.run(&sql.replace(" t", " \"Odd \"\"name\".\"us'ers\"")).await;
        scene.until_bumped(users(), before).await;
    }
    scene.run(&config().unwatch_sql(schema, table)).await;
    scene.run("INSERT INTO \"Odd \"\"name\".\"us'ers\" VALUES (1)").await;
}

#[tokio::test]
async fn a_transaction_that_was_rolled_back_is_not_heard_of() {
    let scene = Scene::logical().await;
    let relay = scene.lead().await;
    let other = Tag::table("orders").slot();
    let (kept, bumped) = (scene.open(users()).await.generation, scene.open(other).await.generation);
    let message = Message { writer: None, slots: vec![users()] };
    scene.run(&format!("BEGIN; {}; ROLLBACK", config().sql(&message))).await;
    scene.touch(&[other]).await;
    scene.until_bumped(other, bumped).await;
    assert_eq!(scene.slot(users()).await.generation, kept);
    assert_eq!(relay.relay.status().messages, 1);
}

#[tokio::test]
async fn another_process_takes_over_and_drops_nothing() {
    let scene = Scene::logical().await;
    let first = scene.lead().await;
    let second = scene.start();
    until("the second is there", async || second.relay.status().is_installed).await;
    assert!(!second.relay.status().is_leader);
    let (before, epoch) = (scene.open(users()).await.generation, scene.epoch().await);
    first.kill().await;
    scene.touch(&[users()]).await;
    scene.until_bumped(users(), before).await;
    assert!(second.relay.status().is_leader);
    // Its session is ended by the server: it comes back, or a third one would.
    let before = scene.slot(users()).await.generation;
    scene.run("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'").await;
    scene.touch(&[users()]).await;
    scene.until_bumped(users(), before).await;
    assert_eq!(scene.epoch().await, epoch, "nothing was missed, so nothing is dropped");
}

#[tokio::test]
async fn nothing_is_let_go_before_it_was_bumped() {
    let scene = Scene::logical().await;
    let first = scene.lead().await;
    let before = scene.open(users()).await.generation;
    scene.tier.set_faults(Operation::Bump, Faults::DOWN);
    scene.touch(&[users()]).await;
    until("the relay cannot bump", async || first.relay.status().problem.is_some()).await;
    assert!(!first.relay.status().is_caught_up);
    first.kill().await;
    scene.tier.set_faults(Operation::Bump, Faults::NONE);
    let _second = scene.lead().await;
    scene.until_bumped(users(), before).await;
}

#[tokio::test]
async fn a_commit_is_bumped_when_readers_see_it_and_not_when_it_is_in_the_log() {
    let scene = Scene::logical().await;
    let relay = scene.lead().await;
    scene.run("CREATE TABLE users (v int); INSERT INTO users VALUES (1)").await;
    let before = scene.open(users()).await.generation;
    scene.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    scene.run("SELECT pg_reload_conf()").await;
    let mut writer = scene.connect().await;
    let message = Message { writer: None, slots: vec![users()] };
    let sql = format!("BEGIN; UPDATE users SET v = 2; {}; COMMIT", config().sql(&message));
    let writing = tokio::spawn(async move { writer.batch_execute(&sql).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until("the commit waits for a standby", async || scene.ask(waits).await == "1").await;
    let log = scene.ask("SELECT pg_current_wal_flush_lsn()").await;
    until("the relay has seen it in the log", async || !relay.relay.status().is_caught_up).await;
    let looked = relay.relay.status().looks;
    until("and has looked again", async || relay.relay.status().looks > looked + 3).await;
    assert_eq!(scene.ask("SELECT v FROM users").await, "1", "at {log}");
    assert_eq!(scene.slot(users()).await.generation, before, "a load would take the old row under it");
    scene.run("ALTER SYSTEM RESET synchronous_standby_names").await;
    scene.run("SELECT pg_reload_conf()").await;
    writing.await.unwrap().unwrap();
    scene.until_bumped(users(), before).await;
    assert_eq!(scene.ask("SELECT v FROM users").await, "2");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_drops_everything() {
    let scene = Scene::logical().await;
    let relay = scene.lead().await;
    let epoch = scene.epoch().await.generation;
    scene.run("SELECT db_cache.emit('2 of the future')").await;
    until("a fresh epoch", async || scene.epoch().await.generation != epoch).await;
    until("it is counted", async || relay.accidents(Accident::Unreadable) == 1).await;
}

#[tokio::test]
async fn the_log_that_a_slot_holds_back_is_bounded_and_shown() {
    let scene = Scene::logical().await;
    let relay = scene.lead().await;
    scene.run("CREATE TABLE filler (t text)").await;
    scene.run("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)").await;
    // The server itself says from time to time where a slot may begin to read: here at once.
    until("the log is let go of", async || {
        scene.run("CHECKPOINT").await;
        relay.relay.status().retained_bytes.is_some_and(|bytes| bytes < 2 << 20)
    })
    .await;
    let names: Vec<_> = relay.relay.status().measures().iter().map(|measure| measure.name).collect();
    assert!(names.contains(&"db.cache.relay.retained"));
}

#[tokio::test]
async fn where_the_log_is_not_decoded_an_outbox_does_it() {
    let scene = Scene::on(Cluster::builder().start().await.unwrap());
    let relay = scene.lead().await;
    assert_eq!(relay.relay.status().way, Some(Way::Outbox));
    let before = scene.open(users()).await.generation;
    scene.tier.set_faults(Operation::Bump, Faults::DOWN);
    scene.touch(&[users()]).await;
    until("the relay cannot bump", async || relay.relay.status().problem.is_some()).await;
    assert_eq!(scene.ask("SELECT count(*) FROM db_cache.outbox").await, "1");
    scene.tier.set_faults(Operation::Bump, Faults::NONE);
    scene.until_bumped(users(), before).await;
    until("the row is gone", async || scene.ask("SELECT count(*) FROM db_cache.outbox").await == "0").await;
}

#[tokio::test]
async fn what_is_committed_during_a_look_is_not_said_to_be_bumped() {
    let scene = Scene::logical().await;
    let relay = scene.lead().await;
    let late = Tag::table("orders").slot();
    scene.open(users()).await;
    let before = scene.open(late).await.generation;
    let slow = Faults { slowest_request: Duration::from_secs(2), ..Faults::NONE };
    scene.tier.set_faults(Operation::Bump, slow);
    scene.touch(&[users()]).await;
    until("the relay bumps the first", async || relay.relay.status().messages == 1).await;
    scene.touch(&[late]).await;
    let committed = scene.tier.read(&[], &[]).await.unwrap().now;
    until("the second is bumped", async || {
        let told = scene.tier.read(&[], &[late]).await.unwrap();
        let is_bumped = told.slots[0].unwrap().generation != before;
        assert!(is_bumped || told.relayed.is_none_or(|relayed| relayed < committed), "{told:?}");
        is_bumped
    })
    .await;
}
