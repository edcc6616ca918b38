//! An operator ends what runs: a cancel is a wish, and so is a second termination on the same run of the
//! server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use db_platform::{Config, Db, Environment, Error, Result};
use db_testkit::{TestDatabase, until};
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

/// How often a read ran on although an operator had ended it, in so many rounds of each kind.
pub(super) async fn count_undone(rounds: u32) -> u32 {
    let database = TestDatabase::empty().await.unwrap();
    let mut config = Config::new(Environment::Test, database.url().parse().unwrap());
    config.connect.statement_timeout = Some(Duration::from_secs(600));
    let db = Db::connect(config).await.unwrap();
    let mut operator = database.connect().await.unwrap();
    let mut undone = 0;
    for _ in 0..rounds {
        for (function, allowed) in [("pg_cancel_backend", 1), ("pg_terminate_backend", 2)] {
            let runs = Arc::new(AtomicU32::new(0));
            let (reader, ran) = (db.clone(), Arc::clone(&runs));
            let reading = tokio::spawn(async move {
                let read: Result<()> = reader
                    .read(async |conn| {
                        ran.fetch_add(1, Ordering::Relaxed);
                        conn.batch_execute("SELECT pg_sleep(300)").await.map_err(Error::from)
                    })
                    .await;
                read.is_err()
            });
            let end = format!(
                "SELECT count({function}(pid)) AS n FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)' \
                 AND state = 'active' AND datname = current_database()"
            );
            until("the read ends", async || {
                sql_query(&end).get_result::<Number>(&mut operator).await.unwrap().n.eq(&0)
                    && reading.is_finished()
            })
            .await;
            let ended = reading.await.unwrap();
            undone += AtomicU32::load(&runs, Ordering::Relaxed).saturating_sub(allowed) + u32::from(!ended);
        }
    }
    undone
}
