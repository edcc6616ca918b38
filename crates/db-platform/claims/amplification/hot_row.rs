//! Transactions contend for one row: more than half of all attempts end in a conflict, and their callers are
//! served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_platform::{Config, Db, Environment, Error, Isolation, Result, RetryConfig};
use db_testkit::TestDatabase;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::cases::each;

/// Of the calls, the share that comes through within ten attempts where six in ten conflict at random:
/// `1 - 0.6^10` is 0.994.
const SERVED: f64 = 0.98;

/// The same on a row that is busy all the time: callers that go on at once are in the way of those that
/// pause.
const SERVED_WHEN_BUSY: f64 = 0.95;

/// How many of a hundred attempts conflict where conflicts are planted.
const PLANTED: f64 = 0.6;

pub(super) struct Served {
    calls: i64,
    succeeded: u64,
    attempts: u64,
    /// What the row counted.
    counted: i64,
    /// The share of conflicts without which nothing was tried.
    share_wanted: f64,
    served_wanted: f64,
}

impl Served {
    /// Of the attempts, the share that ended in a conflict.
    fn conflicts(&self) -> f64 {
        1.0 - self.succeeded as f64 / self.attempts as f64
    }

    pub(super) fn is_right(&self) -> bool {
        self.succeeded as f64 >= self.served_wanted * self.calls as f64
            && self.counted.unsigned_abs() == self.succeeded
            && self.conflicts() >= self.share_wanted
    }

    pub(super) fn detail(&self) -> Value {
        json!({
            "calls": self.calls,
            "served": self.succeeded as f64 / self.calls as f64,
            "conflicts": self.conflicts(),
            "counted": self.counted,
        })
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

async fn value(conn: &mut AsyncPgConnection) -> Result<i64> {
    Ok(sql_query("SELECT n FROM hot").get_result::<Number>(conn).await?.n)
}

/// Callers that read the row, take a while, and write it: of those that have read it together one comes
/// through.
pub(super) async fn real(calls: i64) -> Served {
    serve(calls, 8, (0.25, SERVED_WHEN_BUSY), |_| "SELECT pg_sleep(0.005)").await
}

/// Of all attempts six in ten conflict, whatever the machine's speed.
pub(super) async fn planted(calls: i64) -> Served {
    const CONFLICT: &str = "DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '40001'; END $$";
    serve(
        calls,
        1,
        (PLANTED - 0.05, SERVED),
        |random| if random.random_bool(PLANTED) { CONFLICT } else { "SELECT 1" },
    )
    .await
}

async fn serve(
    calls: i64,
    callers: i64,
    (share_wanted, served_wanted): (f64, f64),
    more: fn(&mut SmallRng) -> &'static str,
) -> Served {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE hot (n int8); INSERT INTO hot VALUES (0)").await.unwrap();
    let mut config = Config::new(Environment::Test, database.url().parse().unwrap());
    config.retry = RetryConfig::transaction();
    let db = Db::connect(config).await.unwrap();
    let attempts = Arc::new(AtomicU64::new(0));
    let made = Arc::clone(&attempts);
    let succeeded = each(calls, callers, move |number| {
        let (db, attempts) = (db.clone(), Arc::clone(&made));
        async move {
            let counted: Result<()> = db
                .build_transaction()
                .isolation(Isolation::RepeatableRead)
                .run(async |conn| {
                    let attempt = attempts.fetch_add(1, Ordering::Relaxed);
                    let mut random = SmallRng::seed_from_u64(attempt ^ number.unsigned_abs() << 32);
                    let n = value(conn).await?;
                    conn.batch_execute(more(&mut random)).await?;
                    let sql = format!("UPDATE hot SET n = {}", n + 1);
                    conn.batch_execute(&sql).await.map_err(Error::from)
                })
                .await;
            counted.is_ok()
        }
    })
    .await;
    let attempts = AtomicU64::load(&attempts, Ordering::Relaxed);
    Served {
        calls,
        succeeded,
        attempts,
        counted: value(&mut conn).await.unwrap(),
        share_wanted,
        served_wanted,
    }
}
