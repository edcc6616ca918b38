//! Pieces of segments and verdicts of rehearsals: what an expiry removes of them, and what a copy takes
//! along.

use db_backup::rehearse::{RehearseConfig, rehearsals, rehearse};
use db_backup::restore::{self, RestoreConfig, Target};
use db_backup::session::Plain;
use db_backup::wal::{ReceiveConfig, receive};
use db_backup::{
    Compression, Keys, Protection, Repository, RetentionPolicy, Store, VerifyOptions, WriterOptions,
};
use db_testkit::Restored;
use tokio::sync::oneshot;

use crate::commands::fetch_command;
use crate::live::Live;
use crate::world::{World, archive, some_bytes, take};

/// Receives what the server writes until this was run on it and is stored.
async fn receive_while(live: &Live, sql: &str) {
    let (config, repository) = (ReceiveConfig::new(live.config().url), live.repository.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let receiver = tokio::spawn(async move {
        let stop = async { drop(stopped.await) };
        receive(&repository, &config, &Plain, stop, &|_| ()).await
    });
    let streams = "SELECT count(*)::text AS t FROM pg_stat_replication";
    db_testkit::until("the receiver streams", async || live.text(streams).await == "1").await;
    live.run(sql).await;
    let at = live.text("SELECT pg_current_wal_flush_lsn()::text AS t").await;
    let reached = format!("SELECT (flush_lsn >= '{at}' IS TRUE)::text AS t FROM pg_stat_replication");
    db_testkit::until("it is stored", async || live.text(&reached).await == "true").await;
    stop.send(()).unwrap();
    receiver.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_a_segment_are_copied_and_go_when_the_segment_is_whole() {
    let live = Live::start(None, &[]).await;
    live.run("CREATE TABLE numbers (n int)").await;
    let taken = live.take().await;
    receive_while(&live, "INSERT INTO numbers SELECT generate_series(1, 100)").await;
    let cluster = live.cluster().await;
    let pieces = || async {
        live.repository.store().list(&format!("clusters/{}/tail", cluster.system_identifier())).await.unwrap()
    };
    assert!(!pieces().await.is_empty());
    let policy = RetentionPolicy { last: 1, ..RetentionPolicy::NOTHING };
    let expiry = cluster.expiry(&policy).await.unwrap();
    assert_eq!(cluster.expire(&expiry).await.unwrap().tails, 0, "the segment is not whole yet");

    let (directory, keys) = (live.home.path().join("second"), Keys::generate());
    let store = Store::local(&directory).unwrap();
    let (second, _) = Repository::init(store, &keys, Protection::Encrypted).await.unwrap();
    let to = second.cluster(cluster.system_identifier());
    cluster.copy_backup(&taken.summary.id, &to, WriterOptions::default()).await.unwrap();
    assert_eq!(cluster.copy_wal(&to, Compression::default()).await.unwrap().tails, 1);
    assert_eq!(cluster.copy_wal(&to, Compression::default()).await.unwrap().tails, 0, "it is there already");

    live.archive().await;
    let expiry = cluster.expiry(&policy).await.unwrap();
    assert!(cluster.expire(&expiry).await.unwrap().tails > 0);
    assert!(pieces().await.is_empty(), "{:?}", pieces().await);

    // The copy was made before the segment was whole, and has each commit up to there.
    let data = live.home.path().join("from-second");
    let config = RestoreConfig {
        restore_command: fetch_command(&directory, &keys, &live.home.path().join("second-ahead")),
        target: Target::Latest,
        ..RestoreConfig::to(&data)
    };
    let plan = restore::plan(&to, &config).await.unwrap();
    restore::apply(&to, &config, &plan, &|_| ()).await.unwrap();
    let mut server = Restored::start(&data, "app");
    assert_eq!(server.text("SELECT count(*) FROM numbers"), "100");
}

#[tokio::test]
async fn verdicts_go_when_they_are_old_and_their_backup_is_gone_but_for_the_newest() {
    let world = World::new(Protection::Encrypted).await;
    let config = RehearseConfig::below(world.directory.path().join("rehearsals"));
    for _ in 0..3 {
        // There is no backup yet: each is red, and says so.
        assert!(!rehearse(&world.cluster, &config, &|_| ()).await.unwrap().holds());
    }
    take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    archive(&world.cluster, 2..5).await;
    let check = async |policy: RetentionPolicy, gone: u64, left: usize| {
        let expiry = world.cluster.expiry(&policy).await.unwrap();
        assert_eq!(world.cluster.expire(&expiry).await.unwrap().rehearsals, gone);
        assert_eq!(rehearsals(&world.cluster).await.unwrap().len(), left);
    };
    check(RetentionPolicy { days: 7, ..RetentionPolicy::NOTHING }, 0, 3).await;
    check(RetentionPolicy::NOTHING, 2, 1).await;
    check(RetentionPolicy::NOTHING, 0, 1).await;
    assert!(world.cluster.verify(VerifyOptions::default()).await.unwrap().holds());
}
