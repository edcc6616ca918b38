//! The schema changes under a warm pool and a router, with traffic: no call fails that would not have failed on a new
//! connection.
//!
//! The line to remove: `again_as_new` in db-retry's `Retry::begin_at` and `Retry::transaction_at`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use db_platform::{Config, Db, Environment, Error, Result};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, until};
use diesel::QueryDsl;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;
use tokio::task::JoinSet;

mod schema {
    diesel::table! { words (id) { id -> Integer, word -> Text, } }
}
use schema::words;

/// Callers at one time.
const WORKERS: usize = 4;

/// Each keeps the query's columns and types, as the program knows them.
const CHANGES: [&str; 6] = [
    "ALTER TABLE words ALTER word TYPE text",
    "ALTER TABLE words ADD extra int DEFAULT 7",
    "ALTER TABLE words ALTER word TYPE varchar(20)",
    "ALTER TABLE words DROP extra",
    "ALTER TABLE words RENAME TO old; CREATE TABLE words AS SELECT id, word::varchar(9) AS word FROM old; DROP TABLE old",
    "ALTER ROLE CURRENT_USER SET work_mem = '5MB'",
];

pub(crate) fn measure(size: Size) -> Figure {
    let changes = if size == Size::Nightly { 1_000 } else { 100 };
    let (errors, calls, first) = tokio::runtime::Runtime::new().unwrap().block_on(change(changes));
    Figure {
        value: errors as f64,
        unit: "errors",
        holds: errors == 0 && calls > changes as u64,
        detail: json!({ "changes": changes, "calls": calls, "first_error": first }),
    }
}

async fn change(changes: usize) -> (u64, u64, Option<String>) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner
        .batch_execute("CREATE TABLE words (id int, word varchar(9)); INSERT INTO words VALUES (1, 'one')")
        .await
        .unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let mut config = Config::new(Environment::Test, cluster.primary_url().parse().unwrap());
    config.read_urls = cluster.standby_urls().iter().map(|url| url.parse().unwrap()).collect();
    let db = Db::connect(config).await.unwrap();
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..WORKERS {
        let (db, stop, calls) = (db.clone(), Arc::clone(&stop), Arc::clone(&calls));
        callers.spawn(async move {
            let mut errors = Vec::new();
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                let read: Result<String> = db.read(async |conn| word(conn).await).await;
                let wrote: Result<String> = db.transaction(async |conn| word(conn).await).await;
                errors.extend([read, wrote].into_iter().filter_map(|result| result.err()));
                calls.fetch_add(2, Ordering::Relaxed);
            }
            errors
        });
    }
    for change in CHANGES.iter().cycle().take(changes) {
        let before = AtomicU64::load(&calls, Ordering::Relaxed);
        owner.batch_execute(change).await.unwrap();
        let goal = before + 4 * WORKERS as u64;
        until("traffic goes on", async || AtomicU64::load(&calls, Ordering::Relaxed) >= goal).await;
    }
    stop.store(true, Ordering::Relaxed);
    let errors: Vec<Error> = callers.join_all().await.into_iter().flatten().collect();
    let first = errors.iter().map(ToString::to_string).next();
    (errors.len() as u64, AtomicU64::load(&calls, Ordering::Relaxed), first)
}

async fn word(conn: &mut AsyncPgConnection) -> Result<String> {
    Ok(words::table.select(words::word).first(conn).await?)
}
