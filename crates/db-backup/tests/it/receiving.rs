//! The log as it is written: a crash of the server loses what was not stored yet, and nothing else.

use std::time::Duration;

use db_backup::restore::Target;
use db_backup::session::Plain;
use db_backup::take::{TakeConfig, WalSource, take};
use db_backup::wal::{ReceiveConfig, receive};
use tokio::sync::oneshot;

use crate::live::Live;

async fn without_an_archive(settings: &[(&str, &str)], standbys: usize) -> Live {
    let settings: Vec<(&str, &str)> = settings.iter().copied().chain([("archive_mode", "off")]).collect();
    let live = Live::start_with(None, &settings, standbys).await;
    live.run("CREATE TABLE numbers (n int)").await;
    let config = TakeConfig { wal: WalSource::Included, ..live.config() };
    take(&live.repository, &config, &|_| ()).await.unwrap();
    live
}

#[tokio::test(flavor = "multi_thread")]
async fn each_commit_that_waited_for_the_receiver_is_restored_after_a_crash() {
    let live = without_an_archive(&[], 0).await;
    let mut config = ReceiveConfig::new(live.config().url);
    config.slot = Some("receiver".to_owned());
    config.every = Duration::ZERO;
    let repository = live.repository.clone();
    let (_stop, stopped) = oneshot::channel::<()>();
    let receiver = tokio::spawn(async move {
        let stop = async { drop(stopped.await) };
        receive(&repository, &config, &Plain, stop, &|_| ()).await
    });
    let streams = "SELECT count(*)::text AS t FROM pg_stat_replication WHERE application_name = 'db-backup'";
    db_testkit::until("the receiver streams", async || live.text(streams).await == "1").await;
    live.run("ALTER SYSTEM SET synchronous_standby_names = '\"db-backup\"'; ").await;
    live.run("SELECT pg_reload_conf()").await;
    let is_sync = "SELECT sync_state AS t FROM pg_stat_replication";
    db_testkit::until("commits wait", async || live.text(is_sync).await == "sync").await;
    for n in 0..200 {
        live.run(&format!("INSERT INTO numbers VALUES ({n})")).await;
    }
    live.server.kill(0).await.unwrap();
    let ended = receiver.await.unwrap();
    assert!(ended.is_err(), "the server is gone: {ended:?}");
    let mut restored = live.restored(&live.restore_to("restored", Target::Latest)).await.unwrap();
    let found = restored.text("SELECT count(*) FROM numbers");
    assert_eq!(found, "200", "{}", restored.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_segments_are_stored_and_the_next_run_goes_on_behind_them() {
    let live = without_an_archive(&[("max_wal_size", "1GB")], 0).await;
    let config = ReceiveConfig::new(live.config().url);
    let mut stored = 0;
    for round in 0..2 {
        let (stop, stopped) = oneshot::channel::<()>();
        let (repository, config) = (live.repository.clone(), config.clone());
        let receiver = tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            receive(&repository, &config, &Plain, stop, &|_| ()).await
        });
        let streams = "SELECT count(*)::text AS t FROM pg_stat_replication";
        db_testkit::until("the receiver streams", async || live.text(streams).await == "1").await;
        live.run("INSERT INTO numbers SELECT generate_series(1, 400000)").await;
        let at = live.text("SELECT pg_current_wal_flush_lsn()::text AS t").await;
        let reached = format!("SELECT (flush_lsn >= '{at}' IS TRUE)::text AS t FROM pg_stat_replication");
        db_testkit::until("it is stored", async || live.text(&reached).await == "true").await;
        stop.send(()).unwrap();
        let received = receiver.await.unwrap().unwrap();
        assert!(received.segments >= 1, "{round}: {received:?}");
        stored += received.segments;
    }
    let cluster = live.cluster().await;
    let there = cluster.wal(1).await.unwrap();
    assert_eq!(there.len() as u64, stored, "each segment once");
    live.server.kill(0).await.unwrap();
    let mut restored = live.restored(&live.restore_to("restored", Target::Latest)).await.unwrap();
    assert_eq!(restored.text("SELECT count(*) FROM numbers"), "800000");
}
