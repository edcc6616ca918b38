//! routing-1: sessions that write now and then, on standbys that lag at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_platform::{Db, Error, Session, Topology};
use db_testkit::Cluster;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use rand::RngExt;
use serde_json::json;
use tokio::task::JoinSet;

use crate::routing::{Number, block_on, config, urls};
use crate::{Figure, Size};

const SESSIONS: i64 = 1_000;
const STANDBYS: usize = 2;
/// A session pauses twice this at most, and this on average.
const PAUSE: Duration = Duration::from_secs(2);
const WRITES: f64 = 0.05;

#[derive(Default)]
struct Tally {
    reads: AtomicU64,
    writes: AtomicU64,
    stale: AtomicU64,
    errors: AtomicU64,
}

pub(crate) fn measure(size: Size) -> Figure {
    let reads = if size == Size::Nightly { 100_000 } else { 10_000 };
    block_on(run(reads))
}

async fn run(wanted: u64) -> Figure {
    let cluster = Cluster::builder().standbys(STANDBYS).start().await.unwrap();
    let db = Db::connect(config(&urls(&cluster, 1 + STANDBYS))).await.unwrap();
    let create = format!(
        "CREATE TABLE register (id int8 PRIMARY KEY, n int8 NOT NULL); \
         INSERT INTO register SELECT id, 0 FROM generate_series(1, {SESSIONS}) AS id"
    );
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(&create).await?)).await.unwrap();
    for standby in 1..=STANDBYS {
        cluster.wait_until_caught_up(standby).await.unwrap();
    }
    let delays = tokio::spawn(vary_delays(cluster.clone()));
    let tally = Arc::new(Tally::default());
    let (before, started) = (db.topology(), Instant::now());
    let mut sessions = JoinSet::new();
    for id in 1..=SESSIONS {
        sessions.spawn(session(db.clone(), id, wanted, Arc::clone(&tally)));
    }
    sessions.join_all().await;
    let (after, elapsed) = (db.topology(), started.elapsed());
    delays.abort();

    let count = |counter: &AtomicU64| AtomicU64::load(counter, Ordering::Relaxed);
    let (reads, stale, errors) = (count(&tally.reads), count(&tally.stale), count(&tally.errors));
    let by_standbys = after.reads.by_standbys() - before.reads.by_standbys();
    let share = by_standbys as f64 / reads as f64;
    // The question for the token goes out with COMMIT: it is asked for a write, and no read waits for it.
    let extra_queries =
        |topology: &Topology| topology.nodes.iter().map(|node| node.token_probes).sum::<u64>() as f64;
    let extra = (extra_queries(&after) - extra_queries(&before)) / reads as f64;
    Figure {
        value: stale as f64,
        unit: "stale reads",
        holds: stale == 0 && errors == 0 && share >= 0.8 && extra <= 0.05,
        detail: json!({
            "reads": reads,
            "writes": count(&tally.writes),
            "errors": errors,
            "share_by_standbys": share,
            "extra_queries_a_read": extra,
            "after_a_wait": after.reads.token_after_wait - before.reads.token_after_wait,
            "token_fallbacks": after.reads.token_fallback - before.reads.token_fallback,
            "seconds": elapsed.as_secs_f64(),
        }),
    }
}

/// One session: it reads, and seldom writes, its own row, and knows what it has written.
async fn session(db: Db, id: i64, wanted: u64, tally: Arc<Tally>) {
    let (session, mut written) = (Session::new(), 0);
    while AtomicU64::load(&tally.reads, Ordering::Relaxed) < wanted {
        let pause = PAUSE.mul_f64(rand::rng().random_range(0.0..2.0));
        tokio::time::sleep(pause).await;
        let done = if rand::rng().random_bool(WRITES) {
            let commit = if rand::rng().random_bool(0.5) { "on" } else { "off" };
            let set = format!("SET LOCAL synchronous_commit = {commit}");
            tally.writes.fetch_add(1, Ordering::Relaxed);
            let work = async |conn: &mut diesel_async::AsyncPgConnection| {
                conn.batch_execute(&set).await?;
                let update = sql_query("UPDATE register SET n = n + 1 WHERE id = $1 RETURNING n");
                Ok::<_, Error>(update.bind::<BigInt, _>(id).get_result::<Number>(conn).await?.n)
            };
            let wrote = db.build_transaction().session(&session).run(work).await;
            wrote.map(|n| written = n)
        } else {
            tally.reads.fetch_add(1, Ordering::Relaxed);
            let read = async |conn: &mut diesel_async::AsyncPgConnection| {
                let select = sql_query("SELECT n FROM register WHERE id = $1").bind::<BigInt, _>(id);
                select.get_result::<Number>(conn).await
            };
            let read = db.read_within(session.freshness(), read).await;
            read.map(|row| {
                tally.stale.fetch_add(u64::from(row.n < written), Ordering::Relaxed);
            })
        };
        if let Err(error) = done {
            eprintln!("session {id}: {error}");
            tally.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Gives each standby another delay four times a second.
async fn vary_delays(cluster: Cluster) {
    let mut standbys = Vec::new();
    for standby in 1..=STANDBYS {
        standbys.push(cluster.connect(standby).await.unwrap());
    }
    loop {
        for conn in &mut standbys {
            let delay = rand::rng().random_range(0..=500);
            let set = format!("ALTER SYSTEM SET recovery_min_apply_delay = '{delay}ms'");
            conn.batch_execute(&set).await.unwrap();
            conn.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
