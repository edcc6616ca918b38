//! A restored server on its way to the target: what may stop it, who gets in, and where it archives then.

use db_backup::PhysicalError;
use db_backup::restore::{Existing, Purpose, RestoreConfig, Target, apply, plan};
use db_backup::session::{Plain, Session};

use crate::live::Live;

const COUNT: &str = "SELECT count(*) FROM numbers";

/// A server with a table of a thousand numbers and a backup.
async fn with_a_backup(settings: &[(&str, &str)]) -> Live {
    let live = Live::start(None, settings).await;
    live.run("CREATE TABLE numbers AS SELECT n FROM generate_series(1, 1000) AS n").await;
    live.take().await;
    live
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_were_raised_since_the_backup_do_not_stop_replay() {
    let live = with_a_backup(&[("max_connections", "40"), ("max_locks_per_transaction", "64")]).await;
    live.run("ALTER SYSTEM SET max_connections = 90").await;
    live.run("ALTER SYSTEM SET max_locks_per_transaction = 128").await;
    live.server.restart(0).await.unwrap();
    live.run("INSERT INTO numbers VALUES (1001)").await;
    live.archive().await;
    let mut restored = live.restored(&live.restore_to("raised", Target::Latest)).await.unwrap();
    assert_eq!(restored.text(COUNT), "1001", "{}", restored.log());
    assert_eq!(restored.text("SHOW max_connections"), "40", "it is as the backup has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_before_the_target_is_reached() {
    let live = with_a_backup(&[]).await;
    live.run("INSERT INTO numbers VALUES (1001)").await;
    live.archive().await;
    let gate = live.home.path().join("go");
    let config = live.restore_to("closed", Target::Latest);
    let waits = format!("until test -e {}; do sleep 0.02; done; {}", gate.display(), config.restore_command);
    let config = RestoreConfig { restore_command: waits, ..config };
    let mut restored = live.restored(&config).await.unwrap();
    let login: db_core::DatabaseUrl = live.server.primary_url().parse().unwrap();
    let login = login.with_endpoint(db_core::Endpoint::new(config.directory.to_str().unwrap(), 5432));
    let asks = async || {
        let opened = Session::open(&login, &Plain).await;
        opened.map(drop).map_err(|error| error.to_string())
    };
    // It answers before it lets anybody in.
    db_testkit::until("it answers", async || asks().await.is_err_and(|said| said.contains("57P03"))).await;
    std::fs::write(gate, "").unwrap();
    assert_eq!(restored.text(COUNT), "1001");
    assert_eq!(asks().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_in_place_archives_on_its_new_timeline_and_a_copy_never() {
    let live = with_a_backup(&[]).await;
    live.archive().await;
    let cluster = live.cluster().await;
    let copy = live.restore_to("copy", Target::Latest);
    let mut restored = live.restored(&copy).await.unwrap();
    restored.text("SELECT pg_switch_wal()");
    assert_eq!(restored.text("SHOW archive_mode"), "off");
    drop(restored);
    assert_eq!(cluster.timelines().await.unwrap(), [1]);

    let place = RestoreConfig { purpose: Purpose::InPlace, ..live.restore_to("place", Target::Latest) };
    let mut restored = live.restored(&place).await.unwrap();
    restored.text("INSERT INTO numbers VALUES (1001)");
    restored.text("SELECT pg_switch_wal()");
    db_testkit::until("its log is archived", async || cluster.timelines().await.unwrap() == [1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_cluster_is_never_overwritten() {
    let live = with_a_backup(&[]).await;
    let cluster = live.cluster().await;
    let config = live.restore_to("theirs", Target::Consistent);
    apply(&cluster, &config, &plan(&cluster, &config).await.unwrap(), &|_| ()).await.unwrap();
    // initdb gives each cluster a number of its own, with which pg_control begins.
    let control = config.directory.join("global/pg_control");
    let mut content = std::fs::read(&control).unwrap();
    content[0] ^= 1;
    std::fs::write(&control, content).unwrap();
    for existing in [Existing::Overwrite, Existing::KeepAside, Existing::Refuse] {
        let config = RestoreConfig { existing, ..config.clone() };
        let refused = plan(&cluster, &config).await.err().unwrap();
        assert!(matches!(refused, PhysicalError::OtherCluster { .. }), "{existing:?}: {refused}");
    }
}
