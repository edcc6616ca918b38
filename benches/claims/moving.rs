//! moving-1: a small HTTP service over `Db` beside the same one over deadpool, through every fault of a
//! cluster.
//!
//! Both have the same URL with three hosts, the same clients and the same faults at the same moment. Each
//! client writes an item and reads it again at once; what it is told is compared with what the cluster holds
//! afterwards. Standbys are 200 ms late.
//!
//! The line to remove makes reads go by lag alone, as if nobody had asked for `process`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod clients;
mod ledger;
mod service;

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_benches::peers;
use db_benches::server::two_threads;
use db_platform::retry::marker;
use db_platform::{Config, Db};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Stop};
use diesel_async::SimpleAsyncConnection;
use serde_json::{Value, json};

use clients::Clients;
use ledger::{Compared, Ledger};

/// How late both standbys replay.
const LATE: &str = "200ms";
/// How long a fault lasts that ends by itself.
const FAULT: Duration = Duration::from_secs(2);
/// So many acknowledged writes show that a service works.
const WORKS: usize = 60;
/// How long a service is given to work again. The one that is compared with may take longer, and fails
/// meanwhile.
const RECOVERS: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 8;
/// The items have no key, so that what is written twice is there twice.
const TABLES: &str = "CREATE TABLE ours (id int8); CREATE TABLE original (id int8); \
                      CREATE FUNCTION wal_position() RETURNS text LANGUAGE sql VOLATILE \
                      AS 'SELECT pg_current_wal_insert_lsn()::text'";

/// What happens to the cluster. Server 0 begins as the primary; 1 is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// kill -9 of a standby, which starts again.
    StandbyKilled,
    /// SIGSTOP of this server, and SIGCONT.
    Frozen(usize),
    /// kill -9 of the primary, and promotion of a standby.
    PrimaryKilled,
    /// The primary is shut down in order, and the standby is promoted that has all of it.
    Switchover,
    /// SIGSTOP of the primary, promotion, and SIGCONT: the old one comes back and believes that nothing
    /// happened.
    FrozenAndReplaced,
}

const FAULTS: [Fault; 7] = [
    Fault::StandbyKilled,
    Fault::Frozen(2),
    Fault::Frozen(1),
    Fault::Frozen(0),
    Fault::PrimaryKilled,
    Fault::Switchover,
    Fault::FrozenAndReplaced,
];

/// What the clients of one service saw in one run.
#[derive(Debug)]
struct Side {
    requests: u64,
    failed: Vec<String>,
    /// Reads that did not find what the same client was told to be written.
    missed: usize,
    longest: Duration,
    rows: Compared,
}

impl Side {
    fn wrong(&self) -> usize {
        self.failed.len() + self.missed + self.rows.lost
    }

    fn detail(&self) -> Value {
        json!({
            "requests": self.requests,
            "failed": self.failed.len(),
            "some_errors": self.failed.iter().take(3).collect::<Vec<_>>(),
            "own_writes_missed": self.missed,
            "acknowledged_and_missing": self.rows.lost,
            "missing_by_replication": self.rows.lost_by_replication,
            "doubled": self.rows.doubled,
            "longest_ms": self.longest.as_secs_f64() * 1e3,
        })
    }
}

pub(crate) fn measure(size: Size) -> Figure {
    let runs = if size == Size::Nightly { 10 } else { 1 };
    let (mut wrong, mut holds, mut detail) = (0, true, Vec::new());
    for fault in FAULTS.into_iter().cycle().take(FAULTS.len() * runs) {
        let (ours, original) = two_threads().block_on(run(fault));
        let seen =
            json!({ "fault": format!("{fault:?}"), "ours": ours.detail(), "original": original.detail() });
        eprintln!("{seen}");
        wrong += ours.wrong();
        holds &= ours.wrong() == 0 && ours.rows.doubled == 0 && ours.requests > 200;
        detail.push(seen);
    }
    Figure {
        value: wrong as f64,
        unit: "requests failed, own writes missed, and acknowledged writes missing",
        holds,
        detail: json!(detail),
    }
}

/// One fault, from two services that work to what they left behind.
async fn run(fault: Fault) -> (Side, Side) {
    let cluster = Cluster::builder()
        .standbys(2)
        .setting_of(1, "recovery_min_apply_delay", LATE)
        .setting_of(2, "recovery_min_apply_delay", LATE)
        .start()
        .await
        .unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner.batch_execute(TABLES).await.unwrap();
    owner.batch_execute(marker::TABLE).await.unwrap();
    for standby in [1, 2] {
        cluster.wait_until_caught_up(standby).await.unwrap();
    }
    let url = url_of_all(&cluster);
    let db = moved(&url).await;
    let pool = peers::deadpool(&url, CONNECTIONS, CONNECTIONS).await;
    let ours = Clients::start(service::of_db(db.clone()).await);
    let original = Clients::start(service::of_deadpool(pool).await);
    for clients in [&ours, &original] {
        assert!(
            clients.write(WORKS, Instant::now(), RECOVERS).await,
            "a service works before anything happens"
        );
    }

    let promoted = strike(fault, &cluster).await;
    // Ours must work; the original is only given the same time.
    let (works, _) = tokio::join!(
        ours.write(WORKS, Instant::now(), RECOVERS),
        original.write(WORKS, Instant::now(), RECOVERS / 2)
    );
    let (mut ours, original) = tokio::join!(ours.finish(), original.finish());
    if !works {
        ours.failed.push(format!("the service does not work {RECOVERS:?} after the fault"));
    }
    let mut holder = cluster.connect(cluster.primary()).await.unwrap();
    let ours = judge(ours, "ours", &mut holder, promoted).await;
    let original = judge(original, "original", &mut holder, promoted).await;
    let _ = db.shutdown(Duration::from_secs(1)).await;
    (ours, original)
}

/// Says when the promotion began, where there was one: what the old primary acknowledges from then on, it
/// should not have.
async fn strike(fault: Fault, cluster: &Cluster) -> Option<Instant> {
    match fault {
        Fault::StandbyKilled => {
            cluster.kill(2).await.unwrap();
            tokio::time::sleep(FAULT).await;
            cluster.start(2).await.unwrap();
            return None;
        }
        Fault::Frozen(server) => {
            cluster.pause(server).await.unwrap();
            tokio::time::sleep(FAULT).await;
            cluster.resume(server).await.unwrap();
            return None;
        }
        Fault::PrimaryKilled => cluster.kill(0).await.unwrap(),
        Fault::Switchover => cluster.stop(0, Stop::Fast).await.unwrap(),
        Fault::FrozenAndReplaced => cluster.pause(0).await.unwrap(),
    }
    let promoting = Instant::now();
    cluster.promote(1).await.unwrap();
    if fault == Fault::FrozenAndReplaced {
        tokio::time::sleep(FAULT).await;
        cluster.resume(0).await.unwrap();
        // So long it believes that it is the primary, with clients that hold connections to it.
        tokio::time::sleep(FAULT).await;
    }
    Some(promoting)
}

async fn judge(
    told: clients::Told,
    table: &str,
    holder: &mut diesel_async::AsyncPgConnection,
    promoted: Option<Instant>,
) -> Side {
    let ledger: &Arc<Ledger> = &told.ledger;
    let rows = ledger.compare(table, holder, promoted).await;
    // What replication lost is not there to be read either.
    let missed = told.missed.iter().filter(|id| rows.kept.contains(id)).count();
    Side { requests: told.requests, failed: told.failed, missed, longest: told.longest, rows }
}

/// The URL that the original has, which leads to whichever of the three takes writes.
fn url_of_all(cluster: &Cluster) -> String {
    let url = cluster.url_of(0).unwrap();
    let (login, rest) = url.rsplit_once('@').unwrap();
    let (_, database) = rest.split_once('/').unwrap();
    let hosts: Vec<String> = (0..3).map(|server| cluster.address_of(server).unwrap().to_string()).collect();
    let database = database.split('?').next().unwrap();
    format!("{login}@{}/{database}?target_session_attrs=read-write&connect_timeout=2", hosts.join(","))
}

/// The same URL in the moved service, with what docs/moving-a-service.md says to set.
async fn moved(url: &str) -> Db {
    let connections = CONNECTIONS.to_string();
    let vars = [
        ("APP_ENV", "test"),
        ("DATABASE_URL", url),
        ("DB_READ_CONSISTENCY", "process"),
        ("DB_COMMIT_MARKERS", "true"),
        ("DB_POOL_MAX", &connections),
        ("DB_READ_POOL_MAX", &connections),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Db::connect(Config::from_vars(vars).unwrap()).await.unwrap()
}
