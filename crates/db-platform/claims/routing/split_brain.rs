//! routing-5: the old primary comes back and takes writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use db_platform::{Db, Error};
use db_testkit::Cluster;
use diesel_async::SimpleAsyncConnection;
use serde_json::json;
use tokio::task::JoinSet;

use crate::routing::{Ids, block_on, config, endpoint, insert, number, urls, within};
use crate::{Figure, Size};

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 20 } else { 4 };
    let (mut astray, mut written, mut fenced) = (0, 0, true);
    for number in 0..rounds {
        let (strays, rows, seen) = block_on(round());
        eprintln!("{number}: {strays} of {rows} writes went to the old primary, fenced: {seen}");
        astray += strays;
        written += rows;
        fenced &= seen;
    }
    Figure {
        value: astray as f64,
        unit: "writes to the old primary",
        holds: astray == 0 && fenced && written > 0,
        detail: json!({ "rounds": rounds, "writes_after_its_return": written, "was_fenced": fenced }),
    }
}

async fn round() -> (i64, u64, bool) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let urls = urls(&cluster, 2);
    // One that knows the nodes in this order, and one in the other: neither order may matter.
    let witness = Db::connect(config(&urls)).await.unwrap();
    witness
        .transaction::<_, Error>(async |conn| {
            Ok(conn.batch_execute("CREATE TABLE ledger (id int8 NOT NULL)").await?)
        })
        .await
        .unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let (stop, written, ids) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(Ids::default()));
    let mut tasks = JoinSet::new();
    let mut write = |db: Db| {
        let (stop, written, ids) = (Arc::clone(&stop), Arc::clone(&written), Arc::clone(&ids));
        tasks.spawn(async move {
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                if insert(&db, "INSERT INTO ledger VALUES ($1)", ids.next()).await.is_ok() {
                    written.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    };
    for _ in 0..4 {
        write(witness.clone());
    }
    let count = || AtomicU64::load(&written, Ordering::Relaxed);
    within(Duration::from_secs(20), async || count() > 100).await.unwrap();
    cluster.kill(0).await.unwrap();
    cluster.promote(1).await.unwrap();
    let new = Some(endpoint(&urls[1]));
    within(Duration::from_secs(20), async || witness.topology().writer == new).await.unwrap();

    cluster.start(0).await.unwrap();
    let mut old = cluster.connect(0).await.unwrap();
    let before = number(&mut old, "SELECT count(*) AS n FROM ledger").await.unwrap();
    let returned = count();
    let newcomers = [config(&urls), config(&[urls[1].clone(), urls[0].clone()])];
    for newcomer in newcomers {
        write(Db::connect(newcomer).await.unwrap());
    }
    let at = endpoint(&urls[0]);
    let fenced = within(Duration::from_secs(5), async || witness.topology().node(&at).unwrap().fenced).await;
    within(Duration::from_secs(20), async || count() > returned + 500).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    let after = number(&mut old, "SELECT count(*) AS n FROM ledger").await.unwrap();
    (after - before, count() - returned, fenced.is_some())
}
