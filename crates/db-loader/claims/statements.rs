//! loader-1: how many statements a thousand loads make. At CI size 20 rounds of each, at full size 200.

use db_loader::{Loader, Query};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Source, TestDatabase};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

const LOADS: i64 = 1_000;

mod schema {
    diesel::table! { numbers (n) { n -> BigInt, square -> BigInt, } }
}
use schema::numbers;

/// How a thousand loads are asked for.
#[derive(Clone, Copy, PartialEq)]
enum Asking {
    OneTask,
    Tasks,
}

/// The line whose removal this must notice: `yield_now().await` in `drain.rs`.
pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 200 } else { 20 };
    let ways = [(1, Asking::OneTask), (2, Asking::OneTask), (1, Asking::Tasks), (2, Asking::Tasks)];
    let means = ways.map(|(threads, asking)| statements(threads, asking, rounds));
    let holds = means[..3].iter().all(|mean| *mean == 1.0) && means[3] <= 2.0;
    Figure {
        value: means[..3].iter().fold(0.0, |most: f64, mean| most.max(*mean)),
        unit: "statements a thousand loads",
        holds,
        detail: json!({
            "rounds": rounds, "one_task_one_thread": means[0], "one_task_two_threads": means[1],
            "tasks_one_thread": means[2], "tasks_two_threads": means[3],
        }),
    }
}

/// The mean of the statements that a thousand loads made.
fn statements(threads: usize, asking: Asking, rounds: i64) -> f64 {
    let runtime = match threads {
        1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    let counted = runtime.unwrap().block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let mut conn = database.connect().await.unwrap();
        let schema =
            "CREATE TABLE numbers AS SELECT n, n * n AS square FROM generate_series(1, 1000::bigint) AS n;
            CREATE SEQUENCE statements";
        conn.batch_execute(schema).await.unwrap();
        let query: Query<i64, i64> =
            Query::new("squares", async |conn: &mut AsyncPgConnection, wanted: Vec<i64>| {
                let counted = diesel::dsl::sql::<Bool>("(SELECT nextval('statements')) > 0");
                numbers::table
                    .filter(numbers::n.eq_any(wanted))
                    .filter(counted)
                    .load::<(i64, i64)>(conn)
                    .await
            });
        for _ in 0..rounds {
            // A loader for each round, as for each request.
            let loader = query.on(Source::opening(database.url()));
            tokio::spawn(ask(loader, asking)).await.unwrap();
        }
        let last = diesel::select(diesel::dsl::sql::<BigInt>("(SELECT last_value FROM statements)"));
        last.get_result::<i64>(&mut conn).await.unwrap()
    });
    counted as f64 / rounds as f64
}

async fn ask(loader: Loader<i64, i64>, asking: Asking) {
    let mut sum: i64 = 0;
    if asking == Asking::OneTask {
        for answer in join_all((1..=LOADS).map(|n| loader.get(n))).await {
            sum += answer.unwrap().unwrap();
        }
    } else {
        let mut tasks = JoinSet::new();
        for n in 1..=LOADS {
            let loader = loader.clone();
            tasks.spawn(async move {
                // They become ready in several turns, as those do that wait for something else first.
                for _ in 0..n % 3 {
                    tokio::task::yield_now().await;
                }
                loader.get(n).await.unwrap().unwrap()
            });
        }
        sum = tasks.join_all().await.into_iter().sum();
    }
    assert_eq!(sum, (1..=LOADS).map(|n| n * n).sum::<i64>());
}
