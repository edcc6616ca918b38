//! routing-14: two healthy standbys with ten times as much to do as they can.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_platform::Db;
use db_testkit::Cluster;
use serde_json::json;
use tokio::task::JoinSet;

use crate::routing::{block_on, config, number, urls, within};
use crate::{Figure, Size};

/// What one standby can do: so many reads at once, of this length.
const AT_ONCE: usize = 2;
const LASTS_MILLIS: u64 = 20;
const TIMES: u64 = 10;
const LIMIT: f64 = 0.95;

/// Fails without the arm `Err(error) if is_overload(&error)` of the router's reader.rs (`on_standby`).
pub(crate) fn measure(size: Size) -> Figure {
    let lasts = Duration::from_secs(if size == Size::Nightly { 60 } else { 8 });
    block_on(run(lasts))
}

async fn run(lasts: Duration) -> Figure {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let mut settings = config(&urls(&cluster, 3));
    // A node's pool is as large as the larger of the two: it may become the writer.
    settings.read_pool.max = NonZeroUsize::new(AT_ONCE).unwrap();
    settings.pool.max = settings.read_pool.max;
    settings.read_pool.max_waiters = 2 * AT_ONCE;
    settings.read_pool.acquire_timeout = Some(Duration::from_millis(200));
    let db = Db::connect(settings).await.unwrap();
    let warm = within(Duration::from_secs(30), async || {
        let _ = read(&db).await;
        db.topology().nodes.iter().filter(|node| node.reads.by_standbys() > 0).count() == 2
    });
    warm.await.unwrap();

    let a_second = TIMES * 2 * (AT_ONCE as u64 * 1_000 / LASTS_MILLIS);
    let pause = Duration::from_secs(1) / u32::try_from(a_second).unwrap();
    let (started, before) = (Instant::now(), db.topology().reads);
    let (answered, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (mut asked, mut reads) = (0_u32, JoinSet::new());
    while started.elapsed() < lasts {
        let (db, answered, refused) = (db.clone(), Arc::clone(&answered), Arc::clone(&refused));
        reads.spawn(async move {
            let counter = if read(&db).await.is_ok() { answered } else { refused };
            counter.fetch_add(1, Ordering::Relaxed);
        });
        asked += 1;
        tokio::time::sleep_until((started + pause * asked).into()).await;
    }
    reads.join_all().await;
    let topology = db.topology();
    let by_standbys = topology.reads.by_standbys() - before.by_standbys();
    let chosen = topology.reads.total() - before.total();
    let share = by_standbys as f64 / chosen as f64;
    let on_primary = chosen - by_standbys;
    let count = |counter: &AtomicU64| AtomicU64::load(counter, Ordering::Relaxed);
    Figure {
        value: share,
        unit: "of the reads that were answered, by standbys",
        holds: share >= LIMIT && on_primary == 0 && count(&answered) > 0 && count(&refused) > 0,
        detail: json!({
            "asked": asked,
            "answered": count(&answered),
            "refused": count(&refused),
            "by_standbys": by_standbys,
            "on_primary": on_primary,
            "ejections": topology.nodes.iter().map(|node| node.ejections).sum::<u64>(),
        }),
    }
}

async fn read(db: &Db) -> Result<i64, db_platform::Error> {
    let work = format!("SELECT 1::int8 AS n FROM pg_sleep({})", LASTS_MILLIS as f64 / 1_000.0);
    db.read(async |conn| number(conn, &work).await).await
}
