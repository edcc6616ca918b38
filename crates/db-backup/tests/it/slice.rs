//! From a running server to a restored one, and to a point in time.

use db_backup::restore::{Existing, Target};
use db_backup::{Kind, PhysicalError};

use crate::live::Live;

const COUNT: &str = "SELECT count(*) || ' ' || coalesce(max(n), 0) FROM numbers";

/// A server with a table of numbers, and a backup when it had 1000.
async fn with_a_backup() -> Live {
    let live = Live::start(None, &[]).await;
    live.run("CREATE TABLE numbers AS SELECT n, md5(n::text) AS t FROM generate_series(1, 1000) AS n").await;
    let taken = live.take().await;
    assert_eq!((taken.summary.kind, taken.summary.bad_pages.len()), (Kind::Full, 0));
    assert_eq!(taken.warnings, [""; 0]);
    live
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_after_the_backup_is_restored() {
    let live = with_a_backup().await;
    live.run("INSERT INTO numbers SELECT n FROM generate_series(1001, 1500) AS n").await;
    live.archive().await;
    let mut restored = live.restored(&live.restore_to("latest", Target::Latest)).await.unwrap();
    assert_eq!(restored.text(COUNT), "1500 1500");
    assert_eq!(restored.text("SHOW archive_mode"), "off", "a copy does not archive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_ends_at_its_target() {
    let live = with_a_backup().await;
    let mut targets = Vec::new();
    for n in [1001, 1002, 1003] {
        live.run(&format!("INSERT INTO numbers VALUES ({n})")).await;
        let time = live.text("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS.US+00') AS t").await;
        let lsn = live.text("SELECT pg_current_wal_insert_lsn()::text AS t").await;
        live.run(&format!("SELECT pg_create_restore_point('after {n}')")).await;
        targets.push((n, time, lsn));
    }
    live.archive().await;
    let (n, time, lsn) = &targets[1];
    let all = [
        ("time", Target::at_time(time).unwrap()),
        ("lsn", Target::Lsn(lsn.parse().unwrap())),
        ("name", Target::Name(format!("after {n}"))),
    ];
    for (name, target) in all {
        let mut restored = live.restored(&live.restore_to(name, target)).await.unwrap();
        assert_eq!(restored.text(COUNT), format!("{n} {n}"), "{name}: {}", restored.log());
    }
    let consistent = live.restore_to("consistent", Target::Consistent);
    let mut restored = live.restored(&consistent).await.unwrap();
    assert_eq!(restored.text(COUNT), "1000 1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_a_server_on_it_or_something_in_it_is_refused() {
    let live = with_a_backup().await;
    let config = live.restore_to("again", Target::Consistent);
    let mut first = live.restored(&config).await.unwrap();
    assert_eq!(first.text(COUNT), "1000 1000");
    let refused = live.restored(&config).await.err().unwrap();
    assert!(matches!(refused, PhysicalError::InUse { .. }), "{refused}");
    first.psql("INSERT INTO numbers VALUES (7777)");
    drop(first);
    let refused = live.restored(&config).await.err().unwrap();
    assert!(matches!(refused, PhysicalError::NotEmpty { .. }), "{refused}");
    let aside = db_backup::restore::RestoreConfig { existing: Existing::KeepAside, ..config.clone() };
    let mut second = live.restored(&aside).await.unwrap();
    assert_eq!(second.text(COUNT), "1000 1000");
    drop(second);
    db_backup::restore::undo(&config.directory).unwrap();
    let mut undone = db_testkit::Restored::start(&config.directory, "app");
    assert_eq!(undone.text(COUNT), "1001 7777");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_archive_does_not_lead_to_is_refused_before_anything_is_touched() {
    let live = with_a_backup().await;
    live.archive().await;
    let future = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let targets = [
        (Target::Time(future), "was archived at"),
        (Target::Time(future - chrono::TimeDelta::days(2)), "choose an older backup"),
        (Target::Lsn(db_core::Lsn(1 << 40)), "beyond the archive"),
        (Target::Lsn(db_core::Lsn(1)), "choose an older backup"),
        (Target::Xid(3), "choose an older backup"),
    ];
    for (target, reason) in targets {
        let config = live.restore_to("refused", target.clone());
        let refused = live.restored(&config).await.err().unwrap().to_string();
        assert!(refused.contains(reason), "{target}: {refused}");
        assert!(!config.directory.exists(), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_point_that_is_not_in_the_log_ends_the_server_instead_of_promoting_it() {
    let live = with_a_backup().await;
    live.archive().await;
    let mut restored =
        live.restored(&live.restore_to("nowhere", Target::Name("none".to_owned()))).await.unwrap();
    let log = restored.ready().unwrap_err();
    assert!(log.contains("recovery ended before configured recovery target was reached"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_fetched_again() {
    let live = with_a_backup().await;
    live.archive().await;
    let cluster = live.cluster().await;
    let config = live.restore_to("again", Target::Consistent);
    let plan = db_backup::restore::plan(&cluster, &config).await.unwrap();
    let first = db_backup::restore::apply(&cluster, &config, &plan, &|_| ()).await.unwrap();
    assert_eq!(first.kept_bytes, 0);
    let over = db_backup::restore::RestoreConfig { existing: Existing::Overwrite, ..config };
    let plan = db_backup::restore::plan(&cluster, &over).await.unwrap();
    let second = db_backup::restore::apply(&cluster, &over, &plan, &|_| ()).await.unwrap();
    // The chunk with pg_control, which is never left in place, is fetched again, and that with the changed
    // settings.
    assert!(second.fetched_bytes <= 2 * db_backup::CHUNK_BYTES as u64, "{second:?}");
    assert!(second.kept_bytes > first.fetched_bytes / 2, "{second:?}");
    let mut server = db_testkit::Restored::start(&over.directory, "app");
    assert_eq!(server.text(COUNT), "1000 1000");
    // Only the user, the password and the database of the URL count: nothing listens there.
    let login = format!("postgres://postgres:{}@192.0.2.1:1/app", db_testkit::password()).parse().unwrap();
    let (within, plain) = (std::time::Duration::from_secs(30), db_backup::session::Plain);
    let reached = db_backup::restore::reached(&over.directory, &login, &plain, within).await.unwrap();
    assert_eq!((reached.takes_writes, reached.timeline), (true, Some(2)), "{reached:?}");
}
