//! cache-7: a standby that has stopped replaying fills nothing old, and still fills whatever was not written
//! since.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_platform::{Db, Result};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Redis};
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;
use tokio::task::JoinSet;

/// How long an entry is fresh, so that each round loads it anew.
const TTL: Duration = Duration::from_millis(400);

/// One row of a hundred is written while the standby stands still.
const HOT: i64 = 100;

const READERS: i64 = 16;

const LEAST: f64 = 0.95;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(sql_type = Bool)]
    standby: bool,
}

/// Where loads of rows that were not written ran.
#[derive(Default)]
struct Loads {
    standby: AtomicU64,
    primary: AtomicU64,
}

pub(crate) fn measure(size: Size) -> Figure {
    let (rows, rounds) = if size == Size::Nightly { (10_000, 20) } else { (500, 3) };
    tokio::runtime::Runtime::new().unwrap().block_on(freeze(rows, rounds))
}

async fn freeze(rows: i64, rounds: u32) -> Figure {
    let redis = Redis::start().await.unwrap();
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    super::make_rows(&cluster, rows).await;
    cluster.wait_until_caught_up(1).await.unwrap();
    let mut config = super::config(&cluster);
    // How old an answer may be is not what is measured: the cache alone keeps old rows out.
    config.router.max_lag = Duration::from_secs(24 * 60 * 60);
    let db = super::process(config.clone(), super::cache(&redis)).await;
    let writer = super::process(config, super::cache(&redis)).await;
    let after = Arc::<Loads>::default();
    // The primary teaches how far a standby must be.
    read_all(&db, rows, "first", &Arc::default()).await;
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.pause_replay(1).await.unwrap();
    let (mut stale, mut reads) = (0_u64, 0_u64);
    for round in 0..rounds {
        let value = format!("round {round}");
        for id in (HOT..=rows).step_by(HOT as usize) {
            super::write(&writer, id, value.clone()).await.unwrap();
        }
        tokio::time::sleep(TTL).await;
        let told = read_all(&db, rows, &value, &after).await;
        (stale, reads) = (stale + told, reads + rows.unsigned_abs());
    }
    let [standby, primary] = [&after.standby, &after.primary].map(|count| count.load(Ordering::Relaxed));
    let share = standby as f64 / (standby + primary).max(1) as f64;
    Figure {
        value: share * 100.0,
        unit: "% of loads of rows that nobody wrote, by the standby",
        holds: stale == 0
            && share >= LEAST
            && standby + primary >= u64::from(rounds) * (rows - rows / HOT) as u64 / 2,
        detail: json!({ "stale": stale, "reads": reads, "standby": standby, "primary": primary, "rounds": rounds }),
    }
}

/// Reads every row once; how many were stale.
async fn read_all(db: &Db, rows: i64, hot: &str, loads: &Arc<Loads>) -> u64 {
    let mut readers = JoinSet::new();
    for reader in 1..=READERS {
        let (db, hot, loads) = (db.clone(), hot.to_owned(), Arc::clone(loads));
        readers.spawn(async move {
            let (mut stale, of_hot) = (0, Arc::default());
            for id in (reader..=rows).step_by(READERS as usize) {
                let is_hot = id % HOT == 0;
                let read = read(&db, id, if is_hot { &of_hot } else { &loads }).await.unwrap();
                stale += u64::from(read != if is_hot { &*hot } else { "first" });
            }
            stale
        });
    }
    readers.join_all().await.into_iter().sum()
}

async fn read(
    db: &Db,
    id: i64,
    loads: &Arc<Loads>,
) -> Result<String, db_platform::cache::CacheError<db_platform::Error>> {
    let loads = Arc::clone(loads);
    let load = async move |conn: &mut AsyncPgConnection| {
        let sql = "SELECT value, pg_is_in_recovery() AS standby FROM rows WHERE id = $1";
        let row: Row = sql_query(sql).bind::<BigInt, _>(id).get_result(conn).await?;
        let count = if row.standby { &loads.standby } else { &loads.primary };
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, db_platform::Error>(Some(row.value))
    };
    Ok(db.cached(super::ROWS.key(id).ttl(TTL), load).await?.unwrap().to_string())
}
