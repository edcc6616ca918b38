//! cache-4: a failover that loses commits, with cached reads running; and each accident of the relay's slot.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use db_platform::cache::Mode;
use db_platform::{DatabaseUrl, Db, Endpoint};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Redis, Stop, until};
use diesel_async::AsyncPgConnection;
use serde_json::json;
use tokio::task::JoinSet;

const ROWS: i64 = 20;

/// What readers of one process have seen.
#[derive(Default)]
struct Seen {
    /// When the process's router first named the new writer.
    named: OnceLock<Instant>,
    is_over: AtomicBool,
    /// Values that only the old primary had, served before and after that.
    lost_before: AtomicU64,
    lost_after: AtomicU64,
    after: AtomicU64,
}

pub(crate) fn measure(size: Size) -> Figure {
    let runs = if size == Size::Nightly { 50 } else { 10 };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (mut wrong, mut details) = (0, Vec::new());
        for run in 0..runs {
            let seen = fail_over(run).await;
            let count = |counter: fn(&Seen) -> &AtomicU64| -> u64 {
                seen.iter().map(|seen| counter(seen).load(Ordering::Relaxed)).sum()
            };
            let (before, after) = (count(|seen| &seen.lost_before), count(|seen| &seen.after));
            let lost = count(|seen| &seen.lost_after);
            // A run that lost nothing, or read nothing, shows nothing.
            wrong += lost + u64::from(before == 0 || after == 0);
            details.push(
                json!({ "lost_values_before": before, "reads_after": after, "lost_values_after": lost }),
            );
        }
        let accidents = super::slot_accidents::stale().await;
        let stale: u64 = accidents.values().sum();
        Figure {
            value: (wrong + stale) as f64,
            unit: "values that the database does not hold",
            holds: wrong == 0 && stale == 0,
            detail: json!({ "runs": details, "stale_after_slot_accidents": accidents }),
        }
    })
}

async fn fail_over(run: u32) -> [Arc<Seen>; 2] {
    let redis = Redis::start().await.unwrap();
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    super::make_rows(&cluster, ROWS).await;
    cluster.wait_until_caught_up(1).await.unwrap();
    let url: DatabaseUrl = cluster.url_of(1).unwrap().parse().unwrap();
    let standby = url.hosts()[0].clone();
    let seen = [Arc::<Seen>::default(), Arc::default()];
    let mut readers = JoinSet::new();
    let mut dbs = Vec::new();
    for seen in &seen {
        let db = super::process(super::config(&cluster), super::cache(&redis)).await;
        readers.spawn(watch(db.clone(), Arc::clone(seen), standby.clone()));
        for reader in 0..4 {
            readers.spawn(read(db.clone(), Arc::clone(seen), reader));
        }
        dbs.push(db);
    }
    cluster.stop(1, if run.is_multiple_of(2) { Stop::Immediate } else { Stop::Fast }).await.unwrap();
    for id in 1..=ROWS {
        super::write(&dbs[0], id, format!("lost {id}")).await.unwrap();
    }
    let has_read = |seen: &Seen| seen.lost_before.load(Ordering::Relaxed) > 100;
    until("what will be lost is cached", async || seen.iter().all(|seen| has_read(seen))).await;
    cluster.kill(0).await.unwrap();
    cluster.start(1).await.unwrap();
    cluster.promote(1).await.unwrap();
    let load = |counter: &AtomicU64| AtomicU64::load(counter, Ordering::Relaxed);
    let has_read = |seen: &Seen| load(&seen.after) + load(&seen.lost_after) > 500;
    until("reads go on after the failover", async || seen.iter().all(|seen| has_read(seen))).await;
    seen.iter().for_each(|seen| seen.is_over.store(true, Ordering::Relaxed));
    readers.join_all().await;
    seen
}

/// Notes when the process knows the new writer.
async fn watch(db: Db, seen: Arc<Seen>, standby: Endpoint) {
    while db.topology().writer.as_ref() != Some(&standby) && !seen.is_over.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    let _ = seen.named.set(Instant::now());
}

async fn read(db: Db, seen: Arc<Seen>, reader: i64) {
    let mut id = reader;
    while !seen.is_over.load(Ordering::Relaxed) {
        id = id % ROWS + 1;
        let started = Instant::now();
        let mode = if reader % 2 == 0 { Mode::Strict } else { Mode::default() };
        let key = super::ROWS.key(id).mode(mode);
        let load = async move |conn: &mut AsyncPgConnection| super::value_of(conn, id).await;
        // While there is no primary a load may fail; what counts is what is served.
        let Ok(Some(value)) = db.cached(key, load).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let is_after = seen.named.get().is_some_and(|named| started > *named);
        let counter = match (is_after, value.starts_with("lost")) {
            (false, true) => Some(&seen.lost_before),
            (true, true) => Some(&seen.lost_after),
            (true, false) => Some(&seen.after),
            (false, false) => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        // A hit waits for nothing: the others have their turn.
        tokio::task::yield_now().await;
    }
}
