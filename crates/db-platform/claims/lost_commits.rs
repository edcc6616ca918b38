//! What becomes of transactions whose COMMIT got no answer: a ledger is kept of what callers were told.
//!
//! Connections are cut at COMMIT: before the server has it, while it is at it, and after it has answered; or an error comes in
//! the place of the answer. Then a primary is killed under load and its standby takes over, with marker rows and without; the
//! name moves to another cluster; and work ends its own transaction.
//!
//! The line to remove: `(_, Some(false), ..)` in `judge` of db-retry's resolve.rs doubles on another cluster, `is_doubtful`
//! in attempt.rs doubles behind an error, `ended_inside` there doubles work that ends its transaction.

mod elsewhere;
mod inside;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use db_platform::{CommitCounts, Config, Db, Environment, Error, Resolve, RetryConfig};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, CommitCut, Proxy, until};
use diesel::sql_types::{BigInt, Integer};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Transactions under way at one time.
const WORKERS: u32 = 8;

/// Of the COMMITs whose answer was lost, the share whose caller need not deal with it.
const RESOLVED: f64 = 0.999;

pub(crate) fn measure(size: Size) -> Figure {
    let (cuts, rounds) = if size == Size::Nightly { (10_000, 100) } else { (2_000, 10) };
    let (cut, with_marker, without, wrong) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        (
            cut_commits(cuts).await,
            fail_over(Resolve::ByMarker).await,
            fail_over(Resolve::ByTransactionId).await,
            [elsewhere::count_wrong(rounds).await, inside::count_wrong(rounds).await],
        )
    });
    let lost = cut.commits.lost() + with_marker.commits.lost();
    let unknown = cut.commits.unknown + with_marker.commits.unknown;
    let resolved = 1.0 - unknown as f64 / lost as f64;
    let right = |run: &Run| run.lost == 0 && run.doubled == 0 && run.phantoms == 0;
    Figure {
        value: resolved * 100.0,
        unit: "% resolved",
        holds: resolved >= RESOLVED
            && [&cut, &with_marker, &without].into_iter().all(right)
            && cut.commits.lost() >= cuts
            && cut.failed == 0
            && with_marker.commits.lost() > 0
            && wrong == [0, 0],
        detail: json!({
            "cut": cut.detail(),
            "failover_with_marker": with_marker.detail(),
            "failover_without_marker": without.detail(),
            "wrong_on_another_cluster": wrong[0],
            "wrong_after_work_ended_its_transaction": wrong[1],
        }),
    }
}

/// What callers were told, against what the ledger holds.
struct Run {
    commits: CommitCounts,
    transactions: u64,
    /// Callers that got an error: nothing was committed, or nobody could tell.
    failed: u64,
    /// Told that it committed, and it is not there.
    lost: i64,
    /// There more than once.
    doubled: i64,
    /// Told that it did not commit, and it is there.
    phantoms: i64,
}

impl Run {
    fn detail(&self) -> Value {
        json!({
            "transactions": self.transactions,
            "failed": self.failed,
            "lost_answers": self.commits.lost(),
            "found_committed": self.commits.committed,
            "found_rolled_back": self.commits.rolled_back,
            "unknown": self.commits.unknown,
            "lost": self.lost,
            "doubled": self.doubled,
            "phantoms": self.phantoms,
        })
    }
}

/// Writes through a proxy, and remembers what it was told.
#[derive(Clone)]
struct Writers {
    db: Db,
    resolve: Resolve,
    next: Arc<AtomicI32>,
    failed: Arc<AtomicU64>,
    cluster: Cluster,
}

impl Writers {
    async fn start(cluster: &Cluster, proxy: &Proxy, resolve: Resolve) -> Writers {
        let mut conn = cluster.connect(0).await.unwrap();
        // Without a key, so that what is written twice is there twice.
        conn.batch_execute("CREATE TABLE ledger (n int NOT NULL); CREATE TABLE told (n int NOT NULL, committed bool NOT NULL)")
            .await
            .unwrap();
        db_platform::retry::marker::apply(&mut conn).await.unwrap();
        let url = proxy.through(&cluster.primary_url()).unwrap();
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
        let db = Db::connect(config).await.unwrap();
        Writers { db, resolve, next: Arc::default(), failed: Arc::default(), cluster: cluster.clone() }
    }

    /// Runs one transaction; says whether its caller was told that it committed, or none where nobody could tell.
    async fn write(&self) -> (i32, Option<bool>) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let work = async move |conn: &mut AsyncPgConnection| {
            let row = sql_query("INSERT INTO ledger VALUES ($1)").bind::<Integer, _>(n);
            row.execute(conn).await?;
            Ok::<_, Error>(())
        };
        match self.db.build_transaction().resolve(self.resolve).run(work).await {
            Ok(()) => (n, Some(true)),
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                (n, (!matches!(error, Error::CommitUnknown(_))).then_some(false))
            }
        }
    }

    async fn finish(self, told: Vec<(i32, Option<bool>)>) -> Run {
        let mut conn = self.cluster.connect(self.cluster.primary()).await.unwrap();
        for (n, committed) in told {
            if let Some(committed) = committed {
                conn.batch_execute(&format!("INSERT INTO told VALUES ({n}, {committed})")).await.unwrap();
            }
        }
        let ledger = "(SELECT n, count(*) AS times FROM ledger GROUP BY n) AS ledger";
        let mut count = async |sql: String| sql_query(sql).get_result::<Number>(&mut conn).await.unwrap().n;
        Run {
            lost: count(format!(
                "SELECT count(*) AS n FROM told LEFT JOIN {ledger} USING (n) WHERE committed AND times IS NULL"
            ))
            .await,
            doubled: count(format!("SELECT count(*) AS n FROM {ledger} WHERE times > 1")).await,
            phantoms: count(format!("SELECT count(*) AS n FROM told JOIN {ledger} USING (n) WHERE NOT committed"))
                .await,
            commits: self.db.lost_commits(),
            transactions: AtomicI32::load(&self.next, Ordering::Relaxed).unsigned_abs().into(),
            failed: AtomicU64::load(&self.failed, Ordering::Relaxed),
        }
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Cuts that many COMMITs, or answers them with an error, in every way.
async fn cut_commits(cuts: u64) -> Run {
    let cluster = Cluster::builder().start().await.unwrap();
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let writers = Writers::start(&cluster, &proxy, Resolve::ByTransactionId).await;
    let mut told = Vec::new();
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
        for _ in 0..WORKERS {
            let writers = writers.clone();
            writing.spawn(async move { writers.write().await });
        }
        told.extend(writing.join_all().await);
    }
    writers.finish(told).await
}

/// Writes without pause while the primary is killed and its standby takes over.
async fn fail_over(resolve: Resolve) -> Run {
    // A COMMIT is answered only when the standby has it: otherwise the failover itself would lose some.
    let builder = Cluster::builder().standbys(1).setting("synchronous_commit", "on");
    let cluster = builder.setting_of(0, "synchronous_standby_names", "*").start().await.unwrap();
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let writers = Writers::start(&cluster, &proxy, resolve).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing = JoinSet::new();
    for _ in 0..WORKERS {
        let (writers, stop) = (writers.clone(), Arc::clone(&stop));
        writing.spawn(async move {
            let mut told = Vec::new();
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                told.push(writers.write().await);
            }
            told
        });
    }
    let written = |more: i32| {
        let goal = AtomicI32::load(&writers.next, Ordering::Relaxed) + more;
        let next = Arc::clone(&writers.next);
        async move {
            until("transactions", async || AtomicI32::load(&next, Ordering::Relaxed) >= goal).await;
        }
    };
    written(500).await;
    cluster.kill(0).await.unwrap();
    cluster.promote(1).await.unwrap();
    proxy.redirect(cluster.address_of(1).unwrap()).unwrap();
    written(500).await;
    stop.store(true, Ordering::Relaxed);
    let told = writing.join_all().await.into_iter().flatten().collect();
    writers.finish(told).await
}
