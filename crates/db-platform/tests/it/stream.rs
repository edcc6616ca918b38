//! Rows of a query too large to hold: in order, one batch ahead, in bounded memory, and gone when dropped.

use std::time::{Duration, Instant};

use db_platform::{Db, Error};
use db_testkit::{Cluster, TestDatabase, until};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Integer;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::{StreamExt, TryStreamExt};

use crate::{Number, alone};

diesel::table! { events (id) { id -> Integer, name -> Text, } }

#[derive(QueryableByName, Debug)]
struct Row {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

/// A handle with one connection for reads.
async fn narrow() -> (TestDatabase, Db) {
    let database = TestDatabase::empty().await.unwrap();
    let db = alone(&database, |config| config.read_pool.max = 1.try_into().unwrap()).await;
    (database, db)
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

#[tokio::test]
async fn all_rows_come_in_order_whatever_the_size_of_a_batch() {
    let (database, db) = narrow().await;
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE events AS SELECT id, 'event ' || id AS name FROM generate_series(1, 10) AS id",
    )
    .await
    .unwrap();
    for batch_size in [0, 1, 3, 9, 10, 11, 1_000] {
        let query = events::table.filter(events::id.gt(2)).order(events::id);
        let rows: Vec<(i32, String)> = db.stream(query, batch_size).try_collect().await.unwrap();
        let expected: Vec<_> = (3..=10).map(|id| (id, format!("event {id}"))).collect();
        assert_eq!(rows, expected, "batches of {batch_size}");
    }
    let none = db.stream::<(i32, String)>(events::table.filter(events::id.gt(99)), 5).next().await;
    assert!(none.is_none());
    let status = &db.pools()[1];
    assert_eq!((status.creates(), status.salvages), (1, 0), "a stream that ends leaves its connection clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_batch_is_fetched_while_the_caller_works_and_none_beyond() {
    let (database, db) = narrow().await;
    let mut observer = database.connect().await.unwrap();
    // Each row that the server made holds a lock.
    let query =
        sql_query("SELECT n, pg_advisory_lock(n)::text AS text FROM generate_series(1::bigint, 1000) AS n");
    let made = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let fetching = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'FETCH%' AND state = 'active'";

    let mut rows = db.stream::<Row>(query, 5);
    for (read, ahead) in [(1, 10), (5, 10), (6, 15), (10, 15), (11, 20)] {
        let row = loop {
            let row = rows.try_next().await.unwrap().unwrap();
            if row.n == read {
                break row;
            }
        };
        assert!(row.text.is_empty());
        until("the next batch is there", async || count(&mut observer, made).await >= ahead).await;
        until("nothing is under way", async || count(&mut observer, fetching).await == 0).await;
        assert_eq!(count(&mut observer, made).await, ahead, "after row {read}");
    }
    drop(rows);
    until("what the query left behind is gone", async || count(&mut observer, made).await == 0).await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_early_frees_its_connection_at_once() {
    let (database, db) = narrow().await;
    let many = "SELECT generate_series(1, 10000000)::bigint AS n, repeat('x', 100) AS text";
    let mut rows = db.stream::<Row>(sql_query(many), 1_000);
    assert_eq!(rows.next().await.unwrap().unwrap().n, 1);
    let dropped = Instant::now();
    drop(rows);
    let n = db.read(async |conn| sql_query("SELECT 7::bigint AS n").get_result::<Number>(conn).await).await;
    assert_eq!(n.unwrap().n, 7);
    assert!(dropped.elapsed() < Duration::from_secs(2), "{:?}", dropped.elapsed());
    let status = &db.pools()[1];
    assert_eq!((status.creates(), status.salvages), (1, 1), "the one connection was kept");

    let mut rows = db.stream::<Row>(sql_query("SELECT 1::bigint AS n, pg_sleep(600)::text AS text"), 10);
    let mut observer = database.connect().await.unwrap();
    let asleep = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    tokio::select! {
        _ = rows.next() => unreachable!("it takes ten minutes"),
        () = until("the query runs", async || count(&mut observer, asleep).await == 1) => drop(rows),
    }
    let dropped = Instant::now();
    until("the query is cancelled", async || count(&mut observer, asleep).await == 0).await;
    assert!(
        dropped.elapsed() < Duration::from_secs(20),
        "it was the server's statement_timeout that ended it"
    );
}

#[tokio::test]
async fn a_failure_ends_the_stream_after_the_batches_before_it() {
    let (_database, db) = narrow().await;
    let query = sql_query("SELECT 60 / (7 - n) AS n, '' AS text FROM generate_series($1::bigint, 10) AS n")
        .bind::<diesel::sql_types::BigInt, _>(1);
    let mut rows = db.stream::<Row>(query, 3);
    let mut seen = Vec::new();
    let error = loop {
        match rows.next().await.unwrap() {
            Ok(row) => seen.push(row.n),
            Err(error) => break error,
        }
    };
    assert_eq!((seen, error.sqlstate().unwrap().as_str()), (vec![10, 12, 15, 20, 30, 60], "22012"));
    assert!(rows.next().await.is_none());

    let mut rows = db.stream::<i32>(diesel::select(diesel::dsl::sql::<Integer>("no_such_column")), 3);
    assert_eq!(rows.next().await.unwrap().unwrap_err().sqlstate().unwrap().as_str(), "42703");
    let write = diesel::insert_into(events::table).values((events::id.eq(1), events::name.eq("")));
    let refused = db.stream::<(i32, String)>(write.returning(events::all_columns), 1).next().await;
    assert!(refused.unwrap().is_err(), "a cursor reads");
}

#[tokio::test]
async fn each_batch_has_the_time_of_one_call() {
    let (_database, db) = narrow().await;
    let hurried = db.with_timeout(Duration::from_millis(200));
    let slow = sql_query(
        "SELECT n, pg_sleep(CASE WHEN n > 2 THEN 600 ELSE 0 END)::text AS text FROM generate_series(1::bigint, 9) AS n",
    );
    let mut rows = hurried.stream::<Row>(slow, 2);
    assert_eq!(rows.next().await.unwrap().unwrap().n, 1);
    assert_eq!(rows.next().await.unwrap().unwrap().n, 2);
    let error = rows.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
}

/// Its server stops, and the connection will never say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_on_a_server_that_stops_ends_when_that_is_noticed() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = crate::db(&cluster).await;
    let slow = "SELECT n, pg_sleep(CASE WHEN n > 2 THEN 600 ELSE 0 END)::text AS text FROM generate_series(1::bigint, 9) AS n";
    let mut rows = db.stream::<Row>(sql_query(slow), 2);
    assert_eq!(rows.next().await.unwrap().unwrap().n, 1);
    assert_eq!(rows.next().await.unwrap().unwrap().n, 2);
    cluster.pause(1).await.unwrap();
    let stopped = Instant::now();
    let error = tokio::time::timeout(Duration::from_secs(20), rows.next()).await;
    cluster.resume(1).await.unwrap();
    let error = error.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?} after {:?}", stopped.elapsed());
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

async fn read_all(rows: i64) {
    let (_database, db) = narrow().await;
    let query = format!("SELECT generate_series(1, {rows})::bigint AS n, repeat('x', 200) AS text");
    let mut stream = db.stream::<Row>(sql_query(query), 1_000);
    let (mut read, mut before, mut most) = (0, 0, 0);
    while let Some(row) = stream.try_next().await.unwrap() {
        read += 1;
        assert_eq!((row.n, row.text.len()), (read, 200));
        if read == 20_000 {
            before = resident();
        }
        if read % 5_000 == 0 {
            most = most.max(resident());
        }
    }
    assert_eq!(read, rows);
    let grown = most.saturating_sub(before);
    eprintln!("{rows} rows: {} kB more than after the first 20,000", grown >> 10);
    assert!(grown < 16 << 20, "{} MB more for {} MB of rows", grown >> 20, (rows * 200) >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_constant_over_half_a_million_rows() {
    read_all(500_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "nightly: ten million rows take a minute"]
async fn memory_stays_constant_over_ten_million_rows() {
    read_all(10_000_000).await;
}
