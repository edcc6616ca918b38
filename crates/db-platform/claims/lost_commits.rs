//! What becomes of transactions whose COMMIT got no answer: a ledger is kept of what callers were told.
//!
//! Connections are cut at COMMIT: before the server has it, while it is at it, and after it has answered; or
//! an error comes in the place of the answer. A primary is killed and its standby takes over, a server
//! crashes and starts again, a synchronous standby is absent, the name moves to another cluster, and work
//! ends its own transaction; with marker rows and without.
//!
//! The line to remove: `if same_cluster != Some(true)` in `by_marker` of db-retry's resolve.rs doubles on
//! another cluster, `!is_doubtful(&error)` in attempt.rs doubles behind an error, `ended_inside` there
//! doubles work that ends its transaction. What each other part would miss stands in its own file.

mod absent_standby;
mod crashes;
mod elsewhere;
mod failovers;
mod inside;

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_platform::{Config, Db, Environment, Error, Resolve, RetryConfig, TransactionBuilder};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, CommitCut, Proxy};
use diesel::sql_types::{BigInt, Integer};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Transactions under way at one time.
const WORKERS: u32 = 8;

/// Of the COMMITs whose answer was lost and that could be resolved, the share whose caller need not deal with
/// it.
const RESOLVED: f64 = 0.999;

pub(crate) fn measure(size: Size) -> Figure {
    let nightly = size == Size::Nightly;
    let cuts = if nightly { 10_000 } else { 2_000 };
    let (parts, wrong) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let parts = [
            ("cut", cut_commits(cuts).await),
            ("failovers", failovers::run(if nightly { 100 } else { 20 }).await),
            ("crashes", crashes::run(if nightly { 50 } else { 6 }).await),
            ("absent_standby", absent_standby::run(if nightly { 20 } else { 2 }).await),
        ];
        let rounds = if nightly { 100 } else { 10 };
        (parts, [elsewhere::count_wrong(rounds).await, inside::count_wrong(rounds).await])
    });
    let lost: u64 = parts.iter().map(|(_, part)| part.resolvable).sum();
    let unresolved: u64 = parts.iter().map(|(_, part)| part.unresolved).sum();
    let resolved = 1.0 - unresolved as f64 / lost as f64;
    let mut detail = json!({
        "wrong_on_another_cluster": wrong[0],
        "wrong_after_work_ended_its_transaction": wrong[1],
    });
    for (name, part) in &parts {
        detail[*name] = part.detail();
    }
    Figure {
        value: resolved * 100.0,
        unit: "% resolved",
        holds: resolved >= RESOLVED
            && parts.iter().all(|(_, part)| part.is_right())
            && parts[0].1.lost_answers >= cuts
            && wrong == [0, 0],
        detail,
    }
}

/// What callers were told, against what the ledger holds.
#[derive(Debug, Default)]
struct Outcome {
    transactions: usize,
    /// COMMITs whose answer was lost.
    lost_answers: u64,
    /// Of those that this part expects to be resolved: how many there were.
    resolvable: u64,
    /// And how many were not.
    unresolved: u64,
    /// Callers that were told that nobody knows.
    unknown: usize,
    /// Callers that got an error other than that one.
    refused: usize,
    /// Told that it committed, and it is not there.
    lost: i64,
    /// There more than once.
    doubled: i64,
    /// Told that it did not commit, and it is there.
    phantoms: i64,
    /// Told or kept otherwise than the part expects.
    unexpected: u32,
    /// What the part counts besides, and must have met at least once.
    met: Vec<(&'static str, u64)>,
}

impl Outcome {
    fn is_right(&self) -> bool {
        self.lost == 0
            && self.doubled == 0
            && self.phantoms == 0
            && self.refused == 0
            && self.unexpected == 0
            && self.lost_answers > 0
            && self.met.iter().all(|(_, times)| *times > 0)
    }

    fn detail(&self) -> Value {
        let mut detail = json!({
            "transactions": self.transactions,
            "lost_answers": self.lost_answers,
            "resolvable": self.resolvable,
            "unresolved": self.unresolved,
            "unknown": self.unknown,
            "refused": self.refused,
            "lost": self.lost,
            "doubled": self.doubled,
            "phantoms": self.phantoms,
            "unexpected": self.unexpected,
        });
        for (what, times) in &self.met {
            detail[*what] = json!(times);
        }
        detail
    }
}

/// What a caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed,
    NotCommitted,
    Unknown,
}

/// Numbers transactions and remembers what was told of each.
#[derive(Debug, Default)]
struct Ledger {
    next: AtomicI32,
    told: Mutex<Vec<(i32, Told)>>,
}

/// Writes through a proxy, and remembers what it was told.
#[derive(Clone)]
struct Writers {
    db: Db,
    ledger: Arc<Ledger>,
}

impl Writers {
    async fn start(url: &str, ledger: &Arc<Ledger>) -> Writers {
        let mut config = Config::new(Environment::Test, url.parse().unwrap());
        config.pool.max = 16.try_into().unwrap();
        // Losing every COMMIT is no outage, and it is not the budget that is measured.
        config.retry = RetryConfig {
            attempts: 50.try_into().unwrap(),
            base: Duration::from_millis(1),
            deadline: Some(Duration::from_secs(60)),
            resolve_timeout: Duration::from_secs(30),
            budget: None,
            ..config.retry
        };
        Writers { db: Db::connect(config).await.unwrap(), ledger: Arc::clone(ledger) }
    }

    /// Runs one transaction; says its number and what its caller was told.
    async fn write(&self, resolve: Resolve) -> (i32, Told) {
        self.write_in(self.db.build_transaction().resolve(resolve)).await
    }

    /// Runs one transaction as it was built.
    async fn write_in(&self, built: TransactionBuilder<'_>) -> (i32, Told) {
        let n = self.ledger.next.fetch_add(1, Ordering::Relaxed);
        let work = async move |conn: &mut AsyncPgConnection| {
            let row = sql_query("INSERT INTO ledger VALUES ($1)").bind::<Integer, _>(n);
            row.execute(conn).await?;
            Ok::<_, Error>(())
        };
        let told = match built.run(work).await {
            Ok(()) => Told::Committed,
            Err(Error::CommitUnknown(_)) => Told::Unknown,
            Err(error) => {
                eprintln!("transaction {n} was refused: {error}");
                Told::NotCommitted
            }
        };
        self.ledger.told.lock().unwrap().push((n, told));
        (n, told)
    }
}

impl Ledger {
    /// Makes the tables. The ledger is without a key, so that what is written twice is there twice.
    async fn create(cluster: &Cluster) -> Arc<Ledger> {
        let mut conn = cluster.connect(0).await.unwrap();
        conn.batch_execute("CREATE TABLE ledger (n int NOT NULL)").await.unwrap();
        db_platform::retry::marker::apply(&mut conn).await.unwrap();
        Arc::default()
    }

    /// What callers were told, against what this server has.
    async fn compare(&self, conn: &mut AsyncPgConnection) -> Outcome {
        let told = self.told.lock().unwrap().clone();
        let pairs = told.iter().map(|(n, told)| format!("({n},'{told:?}')")).collect::<Vec<_>>().join(",");
        let told_of = |what: Told| told.iter().filter(|(_, told)| *told == what).count();
        let ledger = "(SELECT n, count(*) AS times FROM ledger GROUP BY n) AS ledger";
        let all = format!("(VALUES {pairs}) AS told (n, told) FULL JOIN {ledger} USING (n)");
        let mut of = async |condition: &str| {
            count(conn, &format!("SELECT count(*) AS n FROM {all} WHERE {condition}")).await
        };
        Outcome {
            transactions: told.len(),
            unknown: told_of(Told::Unknown),
            refused: told_of(Told::NotCommitted),
            lost: of("told = 'Committed' AND times IS NULL").await,
            doubled: of("times > 1").await,
            phantoms: of("told = 'NotCommitted' AND times IS NOT NULL").await,
            ..Outcome::default()
        }
    }
}

/// How often the ledger has this number.
async fn times(conn: &mut AsyncPgConnection, n: i32) -> i64 {
    count(conn, &format!("SELECT count(*) AS n FROM ledger WHERE n = {n}")).await
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Cuts that many COMMITs, or answers them with an error, in every way: half of them with a marker row.
async fn cut_commits(cuts: u64) -> Outcome {
    let cluster = Cluster::builder().start().await.unwrap();
    let ledger = Ledger::create(&cluster).await;
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let writers = Writers::start(&proxy.through(&cluster.primary_url()).unwrap(), &ledger).await;
    let ways = [
        CommitCut::Withheld,
        CommitCut::Forwarded,
        CommitCut::Answered,
        CommitCut::Falsified(*b"08006"),
        CommitCut::Falsified(*b"57P01"),
        CommitCut::Falsified(*b"58000"),
        CommitCut::Falsified(*b"XX000"),
        CommitCut::Refused(*b"08006"),
        CommitCut::Refused(*b"57P01"),
    ];
    for way in ways.into_iter().cycle() {
        if proxy.counters().commits_cut >= cuts {
            break;
        }
        proxy.cut_commits(WORKERS.into(), way);
        let mut writing = JoinSet::new();
        for worker in 0..WORKERS {
            let resolve = if worker % 2 == 0 { Resolve::ByMarker } else { Resolve::ByTransactionId };
            let writers = writers.clone();
            writing.spawn(async move { writers.write(resolve).await });
        }
        writing.join_all().await;
    }
    let commits = writers.db.lost_commits();
    Outcome {
        lost_answers: commits.lost(),
        resolvable: commits.lost(),
        unresolved: commits.unknown,
        ..ledger.compare(&mut cluster.connect(0).await.unwrap()).await
    }
}
