//! Batches and rows on a bare connection, without a pool.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::time::Duration;

use db_core::{Acquire, Class, Classify, Error};
use db_query::{Batch, Reading, Rows, batch, declare};
use db_testkit::{Source, TestDatabase};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::TryStreamExt;

mod schema {
    diesel::table! { numbers (n) { n -> Integer, } }
}
use schema::numbers;

type Query = diesel::dsl::Order<diesel::dsl::Select<numbers::table, numbers::n>, numbers::n>;

async fn database() -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE numbers AS SELECT generate_series(1, 25) AS n").await.unwrap();
    database
}

async fn opened(url: String) -> db_core::Result<Box<AsyncPgConnection>> {
    let mut conn = Source::opening(url).acquire().await?;
    declare(&mut conn, numbers::table.select(numbers::n).order(numbers::n)).await?;
    Ok(conn)
}

#[tokio::test]
async fn a_batch_answers_each_statement_in_its_own_type() {
    let database = database().await;
    let conn = database.connect().await.unwrap();
    let first = numbers::table.select(numbers::n).order(numbers::n).limit(2);
    let (rows, count): (Vec<i32>, i64) =
        (batch::rows(first), batch::row(numbers::table.count())).run(&conn).await.unwrap();
    assert_eq!((rows, count), (vec![1, 2], 25));
}

#[tokio::test]
async fn every_row_comes_once_whatever_the_size_of_a_batch() {
    let database = database().await;
    for batch_size in [0, 1, 24, 25, 26, 1_000] {
        let opening = opened(database.url().to_owned());
        let rows = Rows::<i32>::start::<Query, _>(opening, Reading::in_batches_of(batch_size));
        let seen: Vec<i32> = rows.try_collect().await.unwrap();
        assert_eq!(seen, (1..=25).collect::<Vec<_>>(), "{batch_size}");
    }
}

#[tokio::test]
async fn a_failure_is_seen_by_whoever_asked_to_before_the_caller_is_told() {
    let database = database().await;
    let url = database.url().to_owned();
    let opening = async move {
        let mut conn = opened(url).await?;
        // The cursor is gone.
        conn.batch_execute("CLOSE db_stream").await?;
        Ok(conn)
    };
    let late = Duration::from_secs(1);
    let reading = Reading::in_batches_of(2).failing(move |_: &mut Box<AsyncPgConnection>, error| {
        assert!(error.report().is_some(), "the server refuses: {error}");
        Error::DeadlineExceeded { waited: late }
    });
    let rows = Rows::<i32>::start::<Query, _>(opening, reading);
    let failed = rows.try_collect::<Vec<i32>>().await.unwrap_err();
    assert_eq!(failed.class(), Class::Overloaded, "{failed}");
}
