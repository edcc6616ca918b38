//! The claims of the area `routing`: reads that scale out, survive a failover, and see the caller's own
//! writes.

pub(crate) mod balancers;
pub(crate) mod decision;
pub(crate) mod failover;
pub(crate) mod fallback;
pub(crate) mod faults;
pub(crate) mod haproxy;
pub(crate) mod ledger;
mod log;
pub(crate) mod new_cluster;
pub(crate) mod overload;
pub(crate) mod patroni;
pub(crate) mod scopes;
pub(crate) mod slots;
pub(crate) mod split_brain;
pub(crate) mod staleness;
pub(crate) mod tokens;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_platform::replica_routing::RouterConfig;
use db_platform::{Config, Db, Endpoint, Environment, Error};
use db_testkit::Cluster;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::task::JoinSet;

#[derive(QueryableByName)]
pub(crate) struct Number {
    #[diesel(sql_type = BigInt)]
    pub(crate) n: i64,
}

#[derive(QueryableByName)]
pub(crate) struct Word {
    #[diesel(sql_type = Text)]
    pub(crate) word: String,
}

pub(crate) async fn number(conn: &mut AsyncPgConnection, sql: &str) -> diesel::QueryResult<i64> {
    Ok(sql_query(sql).get_result::<Number>(conn).await?.n)
}

pub(crate) fn endpoint(url: &str) -> Endpoint {
    url.parse::<db_platform::DatabaseUrl>().unwrap().hosts()[0].clone()
}

/// A runtime for one claim.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

/// The whole stack over these URLs, as a service configures it: the first is where writes begin.
pub(crate) fn config(urls: &[String]) -> Config {
    let mut config = Config::new(Environment::Test, urls[0].parse().unwrap());
    config.read_urls = urls[1..].iter().map(|url| url.parse().unwrap()).collect();
    config.pool.max = NonZeroUsize::new(10).unwrap();
    config.read_pool.max = NonZeroUsize::new(10).unwrap();
    config.router = RouterConfig::default();
    config
}

pub(crate) fn urls(cluster: &Cluster, servers: usize) -> Vec<String> {
    (0..servers).map(|server| cluster.url_of(server).unwrap()).collect()
}

/// Reads that go on until they are told to stop.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<ReadReport>,
}

/// What became of some reads.
#[derive(Debug, Default)]
pub(crate) struct ReadReport {
    pub(crate) reads: u64,
    pub(crate) longest: Duration,
    pub(crate) errors: Vec<String>,
}

impl Readers {
    pub(crate) fn start(db: &Db, tasks: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut set = JoinSet::new();
        for _ in 0..tasks {
            let (db, stop) = (db.clone(), Arc::clone(&stop));
            set.spawn(async move {
                let mut report = ReadReport::default();
                while !AtomicBool::load(&stop, Ordering::Relaxed) {
                    let started = Instant::now();
                    let read = db.read(async |conn| number(conn, "SELECT 1::int8 AS n").await).await;
                    report.reads += 1;
                    report.longest = report.longest.max(started.elapsed());
                    report.errors.extend(read.err().map(|error| error.to_string()));
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                report
            });
        }
        Readers { stop, tasks: set }
    }

    pub(crate) async fn finish(self) -> ReadReport {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().fold(ReadReport::default(), |mut all, mut one| {
            all.reads += one.reads;
            all.longest = all.longest.max(one.longest);
            all.errors.append(&mut one.errors);
            all
        })
    }
}

/// Waits until a condition holds; says how long that took, or none where it took longer than `limit`.
pub(crate) async fn within(limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> Option<Duration> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if condition().await {
            return Some(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    None
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The largest; 0 of none.
pub(crate) fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(0.0, f64::max)
}

pub(crate) async fn insert(db: &Db, sql: &str, id: u64) -> Result<(), Error> {
    let id = i64::try_from(id).unwrap_or(i64::MAX);
    db.transaction(async |conn| {
        sql_query(sql).bind::<BigInt, _>(id).execute(conn).await?;
        Ok(())
    })
    .await
}

/// Numbers for rows that are never the same twice.
#[derive(Debug, Default)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
