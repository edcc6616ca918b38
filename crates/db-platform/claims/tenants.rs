//! Two tenants with a schema each on one `Db`: calls of both and of neither are interleaved on few
//! connections, and many are given up half-way.
//!
//! Every row that is written says for whom, and every read must find its own tenant's row. Beside it stands
//! what one tenant needs whose schema is in the URL.
//!
//! The line to remove: `opening = opening.then(path.set_local())` in db-retry's receipt.rs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use db_platform::{Config, Db, Environment, Error, Result, batch};
use db_testkit::TestDatabase;
use db_testkit::claims::{Figure, Size};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use serde_json::json;
use tokio::task::JoinSet;

diesel::table! { marks (tenant) { tenant -> Text, n -> BigInt, } }
diesel::table! { whose (name) { name -> Text, } }

const TENANTS: [&str; 2] = ["a", "b"];
const WORKERS: u64 = 8;
/// Connections for writes, and as many for reads.
const CONNECTIONS: usize = 4;

#[derive(QueryableByName)]
pub(crate) struct Number {
    #[diesel(sql_type = BigInt)]
    pub(crate) n: i64,
}

/// What callers saw.
#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    given_up: AtomicU64,
    failed: AtomicU64,
    leaks: AtomicU64,
    /// Rows that were written for sure, and rows that may have been.
    written: AtomicI64,
    perhaps: AtomicI64,
}

pub(crate) fn measure(size: Size) -> Figure {
    let calls = if size == Size::Nightly { 100_000 } else { 5_000 };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let alone = one_tenant().await;
        let database = with_tenants().await;
        let db = connect(database.url()).await;
        let seen = Arc::new(Seen::default());
        let mut most = 0;
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(work(db.clone(), Arc::clone(&seen), worker, calls / WORKERS));
        }
        let mut owner = database.connect().await.unwrap();
        while !workers.is_empty() {
            most = most.max(connections(&mut owner).await);
            let _ = tokio::time::timeout(Duration::from_millis(20), workers.join_next()).await.map(Option::transpose).map(Result::unwrap);
        }
        let (astray, rows) = astray(&mut owner).await;
        let told = |count: &AtomicU64| AtomicU64::load(count, Ordering::Relaxed);
        let (written, perhaps) = (AtomicI64::load(&seen.written, Ordering::Relaxed), AtomicI64::load(&seen.perhaps, Ordering::Relaxed));
        let leaks = told(&seen.leaks) + astray;
        let is_complete = (written..=written + perhaps).contains(&rows);
        Figure {
            value: leaks as f64,
            unit: "leaks",
            holds: leaks == 0
                && is_complete
                && told(&seen.calls) == calls
                && told(&seen.failed) == 0
                && told(&seen.given_up) > calls / 20
                && most <= alone + 1,
            detail: json!({
                "calls": told(&seen.calls), "given_up": told(&seen.given_up), "failed": told(&seen.failed),
                "rows_in_another_schema": astray, "rows": rows, "rows_acknowledged": written, "rows_perhaps": perhaps,
                "connections": most, "connections_of_one_tenant": alone,
            }),
        }
    })
}

async fn with_tenants() -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    for schema in ["a", "b", "public"] {
        let make = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE {schema}.whose (name text); \
             INSERT INTO {schema}.whose VALUES ('{schema}'); CREATE TABLE {schema}.marks (tenant text, n int8)"
        );
        owner.batch_execute(&make).await.unwrap();
    }
    database
}

async fn connect(url: &str) -> Db {
    let mut config = Config::new(Environment::Test, url.parse().unwrap());
    config.cache = None;
    config.pool.max = CONNECTIONS.try_into().unwrap();
    config.read_pool.max = CONNECTIONS.try_into().unwrap();
    Db::connect(config).await.unwrap()
}

/// The most connections that the same load needs for one tenant, whose schema is in the URL.
async fn one_tenant() -> i64 {
    let database = with_tenants().await;
    let url: db_platform::DatabaseUrl = database.url().parse().unwrap();
    let url = url.with_setting("search_path", "a").unwrap();
    let mut config = Config::new(Environment::Test, url);
    config.cache = None;
    config.pool.max = CONNECTIONS.try_into().unwrap();
    config.read_pool.max = CONNECTIONS.try_into().unwrap();
    let db = Db::connect(config).await.unwrap();
    let (seen, mut workers) = (Arc::new(Seen::default()), JoinSet::new());
    for worker in 0..WORKERS {
        let (db, seen) = (db.clone(), Arc::clone(&seen));
        workers.spawn(async move {
            for number in 0..200 {
                let running = call(&db, "a", &seen, number, i64::try_from(worker).unwrap());
                let _ = tokio::time::timeout(limit(number), running).await;
            }
        });
    }
    let (mut owner, mut most) = (database.connect().await.unwrap(), 0);
    while !workers.is_empty() {
        most = most.max(connections(&mut owner).await);
        let _ = tokio::time::timeout(Duration::from_millis(20), workers.join_next()).await;
    }
    most
}

/// Those of the service: the owner's own is not counted.
async fn connections(owner: &mut AsyncPgConnection) -> i64 {
    let count = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() \
                 AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    sql_query(count).get_result::<Number>(owner).await.unwrap().n
}

/// Rows that stand in a schema that is not that of the tenant they were written for, and rows in all.
async fn astray(owner: &mut AsyncPgConnection) -> (u64, i64) {
    let count = "SELECT count(*) FILTER (WHERE place <> tenant) AS n FROM marked";
    let of = |count: &str| {
        format!(
            "WITH marked AS (SELECT 'a' AS place, * FROM a.marks UNION ALL SELECT 'b', * FROM b.marks \
             UNION ALL SELECT 'public', * FROM public.marks) {count}"
        )
    };
    let astray = sql_query(of(count)).get_result::<Number>(owner).await.unwrap().n;
    let rows = sql_query(of("SELECT count(*) AS n FROM marked")).get_result::<Number>(owner).await.unwrap().n;
    (u64::try_from(astray).unwrap(), rows)
}

async fn work(db: Db, seen: Arc<Seen>, worker: u64, calls: u64) {
    let tenants = TENANTS.map(|name| (name, db.for_tenant(name).unwrap()));
    for number in 0..calls {
        let at = usize::try_from((number + worker) % 3).unwrap();
        let (whose, handle) = tenants.get(at).map_or(("public", &db), |(name, handle)| (*name, handle));
        let running = call(handle, whose, &seen, number, i64::try_from(worker * calls + number).unwrap());
        seen.calls.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(limit(number), running).await {
            Err(_) => drop(seen.given_up.fetch_add(1, Ordering::Relaxed)),
            Ok(Ok(names)) => {
                let others = names.iter().filter(|name| *name != whose).count();
                seen.leaks.fetch_add(others as u64, Ordering::Relaxed);
            }
            Ok(Err(error)) => {
                eprintln!("{whose}, {number}: {error}");
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A fifth is given up, somewhere between the wait for a connection and the answer to COMMIT.
fn limit(number: u64) -> Duration {
    match number % 5 {
        0 => Duration::from_micros(rand::random_range(0..4_000)),
        _ => Duration::from_secs(60),
    }
}

/// Writes down that a row may be there, until it is known to be.
struct Perhaps<'a>(&'a Seen);

impl<'a> Perhaps<'a> {
    fn of(seen: &'a Seen) -> Self {
        seen.perhaps.fetch_add(1, Ordering::Relaxed);
        Perhaps(seen)
    }

    fn came_true(self) {
        self.0.perhaps.fetch_sub(1, Ordering::Relaxed);
        self.0.written.fetch_add(1, Ordering::Relaxed);
    }
}

/// One call; the names of those whose tables it found.
async fn call(db: &Db, tenant: &str, seen: &Seen, number: u64, n: i64) -> Result<Vec<String>> {
    let name =
        async |conn: &mut AsyncPgConnection| whose::table.select(whose::name).load::<String>(conn).await;
    let mark = (marks::tenant.eq(tenant.to_owned()), marks::n.eq(n));
    match number % 7 {
        0 => {
            let one = || batch::rows::<String>(whose::table.select(whose::name));
            let (first, second) = db.batch((one(), one())).await.map_err(Error::from)?;
            Ok([first, second].concat())
        }
        1 => db.stream::<String>(whose::table.select(whose::name), 10).try_collect().await,
        2 => {
            let perhaps = Perhaps::of(seen);
            db.write(diesel::insert_into(marks::table).values(mark)).await?;
            perhaps.came_true();
            Ok(Vec::new())
        }
        3 => {
            let perhaps = Perhaps::of(seen);
            let work = async move |conn: &mut AsyncPgConnection| {
                diesel::insert_into(marks::table).values(mark).execute(conn).await?;
                Ok::<_, Error>(whose::table.select(whose::name).load::<String>(conn).await?)
            };
            let names = db.transaction(work).await?;
            perhaps.came_true();
            Ok(names)
        }
        4 if number % 49 == 4 => Ok(name(&mut *db.primary().await?).await?),
        _ => db.read(name).await,
    }
}
