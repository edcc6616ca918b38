//! A rehearsal says that a restore works, and is red where it does not.

use db_backup::rehearse::{Check, Expect, Rehearsal, RehearseConfig, rehearsals, rehearse};
use db_backup::restore::Target;

use crate::live::Live;

fn count(least: i64) -> Check {
    Check {
        name: "numbers".to_owned(),
        database: "app".to_owned(),
        sql: "SELECT count(*) FROM numbers".to_owned(),
        expect: Expect::AtLeast(least),
    }
}

async fn with_a_backup() -> Live {
    let live = Live::start(None, &[]).await;
    live.run("CREATE TABLE numbers AS SELECT n, md5(n::text) AS t FROM generate_series(1, 1000) AS n").await;
    live.run("CREATE UNIQUE INDEX ON numbers (n)").await;
    live.take().await;
    live.run("INSERT INTO numbers SELECT n FROM generate_series(1001, 1500) AS n").await;
    live.archive().await;
    live
}

async fn rehearsed(live: &Live, check: Check) -> Rehearsal {
    let config = RehearseConfig {
        restore_command: live.restore_to("unused", Target::Latest).restore_command,
        checks: vec![check],
        ..RehearseConfig::below(live.home.path().join("rehearsals"))
    };
    let rehearsal = rehearse(&live.cluster().await, &config, &|_| ()).await.unwrap();
    let left = std::fs::read_dir(live.home.path().join("rehearsals")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a rehearsal leaves nothing behind");
    rehearsal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_works_is_green_and_its_times_are_recorded() {
    let live = with_a_backup().await;
    let rehearsal = rehearsed(&live, count(1500)).await;
    assert!(rehearsal.holds(), "{rehearsal:#?}");
    assert!(rehearsal.rto_seconds.unwrap() >= rehearsal.restore_seconds.unwrap());
    assert!(rehearsal.rpo_seconds.unwrap() < 60.0, "{rehearsal:#?}");
    let recorded = rehearsals(&live.cluster().await).await.unwrap();
    assert_eq!(recorded.len(), 1);
    assert!(recorded[0].holds() && recorded[0].backup == rehearsal.backup);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_makes_it_red() {
    let live = with_a_backup().await;
    let rehearsal = rehearsed(&live, count(1501)).await;
    assert!(!rehearsal.holds() && rehearsal.checks[0].answer == "1500", "{rehearsal:#?}");
    let missing = Check { sql: "SELECT count(*) FROM nothing".to_owned(), ..count(0) };
    assert!(!rehearsed(&live, missing).await.holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_was_deleted_makes_it_red() {
    let live = with_a_backup().await;
    live.run("INSERT INTO numbers VALUES (2000)").await;
    live.archive().await;
    let cluster = live.cluster().await;
    let stored = cluster.wal(1).await.unwrap();
    let segments: Vec<_> = stored.iter().filter(|stored| stored.name.segment().is_some()).collect();
    live.repository.store().delete(&segments[segments.len() - 2].object.path).await.unwrap();
    let rehearsal = rehearsed(&live, count(0)).await;
    assert!(
        rehearsal.problems.iter().any(|problem| problem.contains("is missing from the archive")),
        "{rehearsal:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_pack_or_a_segment_makes_it_red() {
    let live = with_a_backup().await;
    let cluster = live.cluster().await;
    let manifest = cluster.manifest(&cluster.backups().await.unwrap().whole[0].id).await.unwrap();
    let last =
        cluster.wal(1).await.unwrap().into_iter().rfind(|stored| stored.name.segment().is_some()).unwrap();
    for path in [manifest.content.packs[0].path.clone(), last.object.path] {
        let file = live.home.path().join("store").join(&path);
        let whole = std::fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        std::fs::write(&file, flipped).unwrap();
        assert!(!rehearsed(&live, count(0)).await.holds(), "{path}");
        std::fs::write(&file, whole).unwrap();
    }
    assert!(rehearsed(&live, count(0)).await.holds());
}
