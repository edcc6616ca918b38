//! A backup that has much less than the one before it says so, once.

use std::sync::{Arc, Mutex};

use db_backup::Progress;
use db_backup::logical::{self, DumpConfig};

use crate::live::Live;

/// Twelve tables, with an index each.
async fn with_tables() -> Live {
    let live = Live::start(None, &[]).await;
    for number in 0..12 {
        let table = format!("CREATE TABLE t{number} AS SELECT n FROM generate_series(1, 100) AS n");
        live.run(&format!("{table}; CREATE INDEX ON t{number} (n)")).await;
    }
    live
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_a_quarter_of_the_tables_or_a_database_says_so() {
    let live = with_tables().await;
    live.run("CREATE DATABASE other").await;
    assert_eq!(live.take().await.lost, [""; 0], "it is the first");
    live.run("DROP TABLE t0, t1").await;
    assert_eq!(live.take().await.lost, [""; 0], "two of twelve are no alarm");
    live.run("DROP TABLE t2, t3, t4, t5").await;
    live.run("DROP DATABASE other").await;
    let taken = live.take().await;
    assert_eq!(taken.lost.len(), 2, "{:?}", taken.lost);
    assert!(taken.lost[0].starts_with("the database other is gone"), "{:?}", taken.lost);
    assert!(taken.lost[1].starts_with("app has 12 tables and indexes, and"), "{:?}", taken.lost);
    assert!(taken.warnings.ends_with(&taken.lost), "{:?}", taken.warnings);
    assert_eq!(live.take().await.lost, [""; 0], "it was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_without_tables_or_rows_names_them() {
    let live = with_tables().await;
    let told = Arc::<Mutex<Vec<String>>>::default();
    let dump = async || {
        let url = live.server.primary_url().parse().unwrap();
        let config = DumpConfig::new(url, live.home.path().join("work"));
        let kept = Arc::clone(&told);
        let tell = move |progress: Progress| {
            if let Progress::Warning(text) = progress {
                kept.lock().unwrap().push(text);
            }
        };
        logical::dump(&live.repository, &config, &tell).await.unwrap();
        std::mem::take(&mut *told.lock().unwrap())
    };
    assert_eq!(dump().await, [""; 0]);
    live.run("DROP TABLE t0, t1, t2; TRUNCATE t3, t4, t5, t6, t7").await;
    let lost = dump().await;
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(lost[0].starts_with("app has no public.t0, public.t1, public.t2 any more"), "{lost:?}");
    assert!(lost[1].starts_with("the tables of app have 400 rows, and had 1200 in"), "{lost:?}");
    assert_eq!(dump().await, [""; 0], "it was told");
}
