//! routing-13: how old what a read sees is at most, whatever the pause between two probes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use db_platform::replica_routing::RouterConfig;
use db_platform::{Db, Error};
use db_testkit::Cluster;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::routing::{block_on, config, largest, millis, number, urls, within};
use crate::{Figure, Size};

const MAX_LAG: Duration = Duration::from_secs(1);
const INTERVALS: [u64; 4] = [250, 1_000, 5_000, 30_000];

/// Fails where the router's node.rs takes a lag as it was measured (`see` stores
/// `Moment::now().before(lag)`).
pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 5 } else { 1 };
    let limit = millis(MAX_LAG + RouterConfig::default().probe_timeout);
    let (mut oldest, mut standbys_answered, mut seen) = (Vec::new(), true, Vec::new());
    for interval in INTERVALS.map(Duration::from_millis) {
        for _ in 0..rounds {
            let (age, by_standbys, reads) = block_on(round(interval));
            standbys_answered &= by_standbys > 0;
            oldest.push(millis(age));
            seen.push(json!({
                "interval_ms": millis(interval),
                "oldest_read_ms": millis(age),
                "reads": reads,
                "by_standbys": by_standbys,
            }));
        }
    }
    let worst = largest(&oldest);
    Figure {
        value: worst,
        unit: "ms, the oldest read",
        holds: worst <= limit && standbys_answered,
        detail: json!(seen),
    }
}

/// A row every 20 ms, a standby that stops replaying half-way, and reads all the time.
async fn round(interval: Duration) -> (Duration, u64, u64) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut settings = config(&urls(&cluster, 2));
    (settings.router.max_lag, settings.router.probe_interval) = (MAX_LAG, interval);
    let db = Db::connect(settings).await.unwrap();
    let create =
        async |conn: &mut AsyncPgConnection| Ok(conn.batch_execute("CREATE TABLE t (n int8)").await?);
    db.transaction::<_, Error>(create).await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let answered = within(Duration::from_secs(30), async || {
        let _ = rows(&db).await;
        db.topology().reads.by_standbys() > 0
    });
    answered.await.unwrap();

    let written: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let writer = tokio::spawn(write(db.clone(), Arc::clone(&written)));
    let (started, mut paused) = (Instant::now(), false);
    let (mut oldest, mut reads) = (Duration::ZERO, 0);
    let before = db.topology().reads.by_standbys();
    while started.elapsed() < MAX_LAG * 5 {
        if !paused && started.elapsed() > MAX_LAG {
            cluster.pause_replay(1).await.unwrap();
            paused = true;
        }
        let asked = Instant::now();
        let seen = usize::try_from(rows(&db).await.unwrap()).unwrap();
        reads += 1;
        // The first row that was there when the read began and was not seen.
        let missed = written.lock().unwrap().get(seen).copied();
        oldest = oldest.max(missed.map_or(Duration::ZERO, |at| asked.saturating_duration_since(at)));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    writer.abort();
    (oldest, db.topology().reads.by_standbys() - before, reads)
}

async fn rows(db: &Db) -> Result<i64, Error> {
    db.read(async |conn| number(conn, "SELECT count(*) AS n FROM t").await).await
}

/// The nth moment is that after the COMMIT of the nth row.
async fn write(db: Db, written: Arc<Mutex<Vec<Instant>>>) {
    loop {
        let insert =
            async |conn: &mut AsyncPgConnection| Ok(conn.batch_execute("INSERT INTO t VALUES (1)").await?);
        db.transaction::<_, Error>(insert).await.unwrap();
        written.lock().unwrap().push(Instant::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
