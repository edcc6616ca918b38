//! loader-4: callers that go at random moments. At CI size 10,000 cancellations, at full size 100,000.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use db_loader::{Loader, LoaderConfig, Query};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Source, TestDatabase};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than any load takes on a busy machine.
const LATE: Duration = Duration::from_secs(20);

mod schema {
    diesel::table! { numbers (n) { n -> BigInt, square -> BigInt, } }
}
use schema::numbers;

/// The line whose removal this must notice: `state.flights.remove(&key);` in `close` of `queue.rs`: whoever
/// asks for a key whose callers all went would wait for a load that nobody makes.
pub(crate) fn measure(size: Size) -> Figure {
    let wanted = if size == Size::Nightly { 100_000 } else { 10_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (cancelled, served, wrong) = runtime.block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let mut conn = database.connect().await.unwrap();
        let schema =
            "CREATE TABLE numbers AS SELECT n, n * n AS square FROM generate_series(1, 1000::bigint) AS n;
            CREATE UNIQUE INDEX ON numbers (n)";
        conn.batch_execute(schema).await.unwrap();
        let squares: Query<i64, i64> =
            Query::new("squares", async |conn: &mut AsyncPgConnection, wanted: Vec<i64>| {
                numbers::table.filter(numbers::n.eq_any(wanted)).load::<(i64, i64)>(conn).await
            });
        let max_batch = NonZeroUsize::new(7).unwrap();
        let config = LoaderConfig { max_batch, ..LoaderConfig::default() };
        let squares = squares.with(config).on(connections(database.url(), 3).await);
        let (mut cancelled, mut served, mut wrong) = (0, 0, 0);
        for seed in 0.. {
            // One wrong load is enough to know.
            if cancelled >= wanted || wrong > 0 {
                break;
            }
            let (gone, well, ill) = round(&squares, seed).await;
            (cancelled, served, wrong) = (cancelled + gone, served + well, wrong + ill);
        }
        (cancelled, served, wrong)
    });
    Figure {
        value: f64::from(wrong),
        unit: "wrong, failed or late loads",
        holds: wrong == 0 && served > cancelled / 4,
        detail: json!({ "cancelled": cancelled, "served": served }),
    }
}

/// A few callers of few keys, most of whom go after a random number of turns.
async fn round(squares: &Loader<i64, i64>, seed: u64) -> (u32, u32, u32) {
    let mut random = SmallRng::seed_from_u64(seed);
    let scope = if random.random_bool(0.3) { squares.scope() } else { squares.clone() };
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (key, scope) = (random.random_range(1..=30), scope.clone());
        let patience = random.random_bool(0.7).then(|| Duration::from_micros(random.random_range(0..400)));
        callers.spawn(async move {
            let load = scope.get(key);
            match patience {
                Some(patience) => {
                    let answer = give_up_after(patience, load).await;
                    answer.map(|answer| matches!(answer, Ok(Some(square)) if square == key * key))
                }
                None => {
                    Some(matches!(timeout(LATE, load).await, Ok(Ok(Some(square))) if square == key * key))
                }
            }
        });
    }
    let (mut gone, mut well, mut ill) = (0, 0, 0);
    for outcome in callers.join_all().await {
        match outcome {
            None => gone += 1,
            Some(true) => well += 1,
            Some(false) => ill += 1,
        }
    }
    (gone, well, ill)
}

/// Drops the load in the middle of whatever it is at, without a timer's coarse grain.
async fn give_up_after<T>(patience: Duration, load: impl Future<Output = T>) -> Option<T> {
    let started = std::time::Instant::now();
    let mut load = std::pin::pin!(load);
    loop {
        tokio::select! {
            biased;
            answer = &mut load => return Some(answer),
            () = tokio::task::yield_now() => {}
        }
        if started.elapsed() >= patience {
            return None;
        }
    }
}

/// A few connections that stay open, in turn.
async fn connections(url: &str, count: usize) -> Source<OwnedMutexGuard<AsyncPgConnection>> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(Arc::new(Mutex::new(AsyncPgConnection::establish(url).await.unwrap())));
    }
    let next = AtomicUsize::new(0);
    Source::new(move |_| {
        let conn = Arc::clone(&open[next.fetch_add(1, Ordering::Relaxed) % open.len()]);
        async move { Ok(conn.lock_owned().await) }
    })
}
