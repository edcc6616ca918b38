//! routing-4: one of two standbys fails in one way after another, while reads go on.

use std::time::Duration;

use db_platform::{Db, Endpoint};
use db_testkit::{Cluster, Proxy};
use diesel_async::SimpleAsyncConnection;
use serde_json::{Value, json};

use crate::routing::{Readers, block_on, config, millis, urls, within};
use crate::{Figure, Size};

const READERS: usize = 16;
const NOTICED: Duration = Duration::from_secs(1);
const BACK: Duration = Duration::from_secs(5);
/// Longer than the lag that is allowed, and then some.
const LAG_NOTICED: Duration = Duration::from_secs(40);
/// How far behind a standby falls before it may catch up.
const LAG: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    Blackhole,
    PauseReplay,
    Lag,
}

const FAULTS: [Fault; 5] = [Fault::Kill, Fault::Stop, Fault::Blackhole, Fault::PauseReplay, Fault::Lag];

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 10 } else { 1 };
    let (mut failed, mut holds, mut seen) = (0, true, Vec::new());
    for fault in FAULTS.into_iter().cycle().take(FAULTS.len() * rounds) {
        let (errors, fine, detail) = block_on(round(fault));
        eprintln!("{detail}");
        failed += errors;
        holds &= fine;
        seen.push(detail);
    }
    Figure { value: failed as f64, unit: "failed reads", holds, detail: json!(seen) }
}

async fn round(fault: Fault) -> (usize, bool, Value) {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let proxy = Proxy::start(cluster.address_of(2).unwrap()).unwrap();
    let mut urls = urls(&cluster, 3);
    urls[2] = proxy.through(&urls[2]).unwrap();
    let db = Db::connect(config(&urls)).await.unwrap();
    let target = Endpoint::new("127.0.0.1", proxy.port());
    let reads = || db.topology().node(&target).unwrap().reads.total();
    let readers = Readers::start(&db, READERS);
    let busy = async || {
        let before = reads();
        within(BACK, async || reads() > before + 50).await
    };
    busy().await.unwrap();

    begin(fault, &cluster, &proxy).await;
    let limit = if matches!(fault, Fault::PauseReplay | Fault::Lag) { LAG_NOTICED } else { NOTICED * 10 };
    let writes = tokio::spawn(keep_writing(db.clone()));
    let noticed = within(limit, async || !is_used(&db, &target)).await;
    // It stays out of use: nobody is sent there to find out.
    let at_rest = reads();
    let behind = match fault {
        Fault::Lag => Some(fall_behind(&db, &target).await),
        _ => None,
    };
    let calm = within(Duration::from_secs(1), async || reads() > at_rest + 16).await.is_none();
    end(fault, &cluster, &proxy).await;
    let back = busy().await;
    writes.abort();
    let report = readers.finish().await;

    let in_time = match fault {
        Fault::Stop | Fault::Blackhole | Fault::Kill => noticed.is_some_and(|noticed| noticed <= NOTICED),
        Fault::PauseReplay | Fault::Lag => noticed.is_some(),
    };
    let fell_behind = behind.is_none_or(|lag| lag >= LAG);
    let fine = in_time && fell_behind && calm && back.is_some() && report.errors.is_empty();
    let detail = json!({
        "fault": format!("{fault:?}"),
        "reads": report.reads,
        "errors": report.errors,
        "noticed_ms": noticed.map(millis),
        "behind_ms": behind.map(millis),
        "back_ms": back.map(millis),
        "left_alone_meanwhile": calm,
        "longest_read_ms": millis(report.longest),
        "holds": fine,
    });
    (report.errors.len(), fine, detail)
}

fn is_used(db: &Db, target: &Endpoint) -> bool {
    let topology = db.topology();
    let node = topology.node(target).unwrap();
    node.is_up()
        && node.lag.is_some_and(|lag| lag <= db_platform::replica_routing::RouterConfig::default().max_lag)
}

/// Waits until a standby is as far behind as it has to be, and says how far it came.
async fn fall_behind(db: &Db, target: &Endpoint) -> Duration {
    let mut furthest = Duration::ZERO;
    let so_far = async || {
        furthest = furthest.max(db.topology().node(target).unwrap().lag.unwrap_or_default());
        furthest >= LAG
    };
    within(LAG * 2, so_far).await;
    furthest
}

/// An idle primary has no lag: something must be written for a standby to miss.
async fn keep_writing(db: Db) {
    loop {
        let beat = db.transaction::<_, db_platform::Error>(async |conn| {
            Ok(conn.batch_execute("SELECT pg_logical_emit_message(true, 'beat', 'beat')").await?)
        });
        let _ = beat.await.inspect_err(|error| eprintln!("beat: {error}"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn begin(fault: Fault, cluster: &Cluster, proxy: &Proxy) {
    match fault {
        Fault::Kill => cluster.kill(2).await.unwrap(),
        Fault::Stop => cluster.pause(2).await.unwrap(),
        Fault::Blackhole => proxy.blackhole(),
        Fault::PauseReplay => cluster.pause_replay(2).await.unwrap(),
        // More than it is to come to: what is replayed on time is never quite that far behind.
        Fault::Lag => delay(cluster, "40s").await,
    }
}

async fn end(fault: Fault, cluster: &Cluster, proxy: &Proxy) {
    match fault {
        Fault::Kill => cluster.start(2).await.unwrap(),
        Fault::Stop => cluster.resume(2).await.unwrap(),
        Fault::Blackhole => proxy.heal(),
        Fault::PauseReplay => cluster.resume_replay(2).await.unwrap(),
        Fault::Lag => delay(cluster, "0").await,
    }
}

async fn delay(cluster: &Cluster, delay: &str) {
    let mut conn = cluster.connect(2).await.unwrap();
    conn.batch_execute(&format!("ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")).await.unwrap();
    conn.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}
