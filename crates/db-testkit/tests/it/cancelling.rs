//! Futures over real connections, dropped wherever they can be.

use crate::{connect, one};
use db_testkit::{Polled, TestDatabase, cancel_at_each_poll, poll_times};
use diesel_async::{AsyncConnection, RunQueryDsl};
use std::cell::Cell;

#[tokio::test]
async fn a_real_query_is_cancelled_at_each_of_its_polls() {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await.unwrap();
    client.batch_execute("CREATE SEQUENCE asked").await.unwrap();
    let runs = Cell::new(0);
    let polls = cancel_at_each_poll(
        || {
            runs.set(runs.get() + 1);
            client.query_one("SELECT nextval('asked')", &[])
        },
        async |polls| {
            assert_eq!(polls, runs.get(), "one more poll in each run");
            assert_eq!(one::<i32>(&client, "SELECT 42").await, 42, "the next query gets its own answer");
        },
    )
    .await
    .unwrap();
    assert!(polls > 1, "real input and output takes more than one poll");
    assert_eq!(runs.get(), polls);
    assert!(one::<i64>(&client, "SELECT last_value FROM asked").await >= 1, "the last run was not cancelled");
}

#[tokio::test]
async fn a_transaction_dropped_at_any_poll_leaves_all_or_nothing() {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let polls = cancel_at_each_poll(
        async || {
            let mut conn = database.connect().await.unwrap();
            conn.transaction(async |conn| {
                diesel::sql_query("INSERT INTO t VALUES (1)").execute(conn).await?;
                diesel::sql_query("INSERT INTO t VALUES (2)").execute(conn).await
            })
            .await
            .unwrap();
        },
        async |_| {
            let whole = "SELECT count(*) FILTER (WHERE n = 1) = count(*) FILTER (WHERE n = 2) FROM t";
            assert!(one::<bool>(&client, whole).await);
        },
    )
    .await
    .unwrap();
    // BEGIN, two statements (prepared, then run) and COMMIT each wait for the server at least once.
    assert!(polls > 4, "{polls}");
}

#[tokio::test]
async fn a_query_polled_too_few_times_is_cancelled() {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await.unwrap();
    assert!(matches!(poll_times(client.query_one("SELECT 1", &[]), 1).await, Ok(Polled::Cancelled)));
    assert!(matches!(poll_times(client.query_one("SELECT 1", &[]), 100).await, Ok(Polled::Ready { .. })));
}
