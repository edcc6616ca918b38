//! Transactions that are cancelled and cut while they begin: no statement ever runs outside its transaction,
//! and nobody waits for ever.
//!
//! Each transaction writes one row in each of two tables; half of them fail on purpose after the first. Where
//! a row stands alone, or one of a transaction that failed on purpose is there, a statement ran outside.
//!
//! The line to remove: `Stage::Sent { .. } | Stage::AsOne(_) => break` in db-pool's opener.rs, behind which
//! what the client pipelines waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_platform::{Config, Db, Environment, Error, Result};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Direction, Proxy, TestDatabase};
use diesel::prelude::*;
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;
use tokio::task::JoinSet;

use crate::tenants::Number;

diesel::table! { one (n) { n -> BigInt, doomed -> Bool, } }
diesel::table! { other (n) { n -> BigInt, doomed -> Bool, } }

const WORKERS: u64 = 8;
/// A call that takes longer waits for ever.
const FOR_EVER: Duration = Duration::from_secs(60);

/// What callers saw.
#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    given_up: AtomicU64,
    failed: AtomicU64,
    committed: AtomicU64,
    for_ever: AtomicU64,
    cancels: AtomicU64,
    cuts: AtomicU64,
}

impl Seen {
    fn of(&self, count: &AtomicU64) -> u64 {
        AtomicU64::load(count, Ordering::Relaxed)
    }
}

pub(crate) fn measure(size: Size) -> Figure {
    let calls = if size == Size::Nightly { 100_000 } else { 5_000 };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let mut owner = database.connect().await.unwrap();
        owner
            .batch_execute("CREATE TABLE one (n int8, doomed bool); CREATE TABLE other (n int8, doomed bool)")
            .await
            .unwrap();
        let address = database.url().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        let proxy = Arc::new(Proxy::start(address).unwrap());
        let mut config = Config::new(Environment::Test, proxy.through(database.url()).unwrap().parse().unwrap());
        config.cache = None;
        config.pool.max = 6.try_into().unwrap();
        config.retry.resolve_timeout = Duration::from_secs(2);
        let db = Db::connect(config).await.unwrap();
        let seen = Arc::new(Seen::default());
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(work(db.clone(), Arc::clone(&seen), worker, calls / WORKERS));
        }
        let own = count(&mut owner, "SELECT pg_backend_pid()::bigint AS n").await;
        let sabotage = tokio::spawn(sabotage(
            own,database.connect().await.unwrap(), Arc::clone(&proxy), Arc::clone(&seen)));
        while workers.join_next().await.map(Result::unwrap).is_some() {}
        sabotage.abort();
        proxy.heal();
        let _ = db.shutdown(Duration::from_secs(10)).await;
        let alone = count(&mut owner, "SELECT count(*) AS n FROM one FULL JOIN other USING (n) WHERE one IS NULL OR other IS NULL").await;
        let doomed = count(&mut owner, "SELECT count(*) AS n FROM one NATURAL FULL JOIN other WHERE doomed").await;
        let rows = count(&mut owner, "SELECT count(*) AS n FROM one").await;
        let outside = alone + doomed;
        Figure {
            value: outside as f64,
            unit: "statements outside their transaction",
            holds: outside == 0
                && seen.of(&seen.for_ever) == 0
                && rows as u64 >= seen.of(&seen.committed)
                && seen.of(&seen.committed) > calls / 20
                && seen.of(&seen.given_up) + seen.of(&seen.failed) > calls / 10,
            detail: json!({
                "calls": seen.of(&seen.calls), "given_up": seen.of(&seen.given_up), "failed": seen.of(&seen.failed),
                "acknowledged": seen.of(&seen.committed), "rows": rows, "alone": alone, "of_doomed": doomed,
                "waited_for_ever": seen.of(&seen.for_ever), "cancels": seen.of(&seen.cancels), "cuts": seen.of(&seen.cuts),
            }),
        }
    })
}

async fn count(owner: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(owner).await.unwrap().n
}

async fn work(db: Db, seen: Arc<Seen>, worker: u64, calls: u64) {
    for number in 0..calls {
        let n = i64::try_from(worker * calls + number).unwrap();
        // A third is given up, somewhere between the wait for a connection and the answer to COMMIT.
        let limit = match rand::random_range(0..3) {
            0 => Duration::from_micros(rand::random_range(0..2_500)),
            _ => FOR_EVER,
        };
        seen.calls.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(limit, call(&db, n)).await {
            Err(_) if limit == FOR_EVER => drop(seen.for_ever.fetch_add(1, Ordering::Relaxed)),
            Err(_) => drop(seen.given_up.fetch_add(1, Ordering::Relaxed)),
            Ok(Ok(())) => drop(seen.committed.fetch_add(1, Ordering::Relaxed)),
            Ok(Err(_)) => drop(seen.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// Writes a row in each table, one behind the other or without waiting, as prepared statements or as text.
async fn call(db: &Db, n: i64) -> Result<()> {
    let (doomed, pipelined, simple) = (n % 2 == 1, n % 3 != 0, n % 5 == 0);
    let work = async move |conn: &mut AsyncPgConnection| {
        let sql = |table: &str| format!("INSERT INTO {table} VALUES ({n}, {doomed})");
        match (pipelined, simple) {
            (true, _) => {
                let (mut first, mut second) = (&*conn, &*conn);
                // The connection has them prepared: both are sent before BEGIN is answered.
                let one = diesel::insert_into(one::table).values((one::n.eq(n), one::doomed.eq(doomed)));
                let other =
                    diesel::insert_into(other::table).values((other::n.eq(n), other::doomed.eq(doomed)));
                let (one, other) = tokio::join!(biased; one.execute(&mut first), other.execute(&mut second));
                // What a service does that does not look at each answer.
                if rand::random_bool(0.5) {
                    one?;
                    other?;
                }
            }
            (false, true) => {
                conn.batch_execute(&sql("one")).await?;
                conn.batch_execute(&sql("other")).await?;
            }
            (false, false) => {
                sql_query(sql("one")).execute(conn).await?;
                sql_query(sql("other")).execute(conn).await?;
            }
        }
        if doomed { Err(Error::NotFound) } else { Ok(()) }
    };
    db.transaction(work).await
}

/// Cancels whatever runs, again and again, so that BEGIN is met too; now and then it ends a session, or cuts
/// connections after a few bytes, which are those of BEGIN more often than not.
async fn sabotage(spared: i64, mut owner: AsyncPgConnection, proxy: Arc<Proxy>, seen: Arc<Seen>) {
    let others = format!(
        "FROM pg_stat_activity WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), {spared}) \
         AND backend_type = 'client backend'"
    );
    let cancel = format!(
        "SELECT count(pg_cancel_backend(pid)) AS n FROM (SELECT pid {others}) AS s, generate_series(1, 50)"
    );
    let end = format!("SELECT count(pg_terminate_backend(pid)) AS n FROM (SELECT pid {others} LIMIT 1) AS s");
    loop {
        match rand::random_range(0..200) {
            0 => {
                let direction = if rand::random() { Direction::ToServer } else { Direction::ToClient };
                proxy.cut_after(direction, rand::random_range(0..1_500));
                tokio::time::sleep(Duration::from_millis(2)).await;
                proxy.heal();
                seen.cuts.fetch_add(1, Ordering::Relaxed);
            }
            1 => {
                let _ = sql_query(&end).execute(&mut owner).await;
                seen.cuts.fetch_add(1, Ordering::Relaxed);
            }
            // In between, transactions come through.
            2..30 => tokio::time::sleep(Duration::from_micros(rand::random_range(0..4_000))).await,
            _ => {
                let _ = sql_query(&cancel).execute(&mut owner).await;
                seen.cancels.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
