//! Batches on a real server.

use std::collections::HashMap;
use std::time::Duration;

use db_core::{Class, Classify, Error, SqlState};
use db_loader::{Found, LoadError, LoaderConfig, Query};
use db_testkit::{Source, TestDatabase, until};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use std::sync::Arc;
use tokio::sync::Mutex;

mod schema {
    diesel::table! { users (id) { id -> Integer, name -> Text, } }
}
pub(crate) use schema::users;

/// A database with users 1 to 2,000, and a sequence that counts statements.
pub(crate) async fn database() -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let schema = "CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL);
        INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 2000) AS n;
        CREATE SEQUENCE statements";
    conn.batch_execute(schema).await.unwrap();
    database
}

/// Names by id. The server itself counts each statement that it runs.
pub(crate) fn names() -> Query<i32, String> {
    Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
        let counted = diesel::dsl::sql::<diesel::sql_types::Bool>("(SELECT nextval('statements')) > 0");
        users::table.filter(users::id.eq_any(ids)).filter(counted).load::<(i32, String)>(conn).await
    })
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

pub(crate) async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Count>(conn).await.unwrap().n
}

pub(crate) const STATEMENTS: &str =
    "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS n FROM statements";

#[tokio::test]
async fn a_thousand_loads_are_one_statement_on_the_server() {
    let database = database().await;
    let names = names().on(Source::opening(database.url()));
    let answers = names.get_many(1_501..2_501).await;
    let found = answers.into_iter().filter(|answer| answer.as_ref().unwrap().is_some()).count();
    assert_eq!(found, 500);
    assert_eq!(count(&mut database.connect().await.unwrap(), STATEMENTS).await, 1);
}

#[tokio::test]
async fn batches_of_every_size_share_one_prepared_statement() {
    let database = database().await;
    let conn = Arc::new(Mutex::new(database.connect().await.unwrap()));
    let shared = Arc::clone(&conn);
    let source = Source::new(move |_| {
        let conn = Arc::clone(&shared);
        async move { Ok(conn.lock_owned().await) }
    });
    let names = names().on(source);
    for size in [1, 2, 10, 500, 1_000] {
        let answers = names.get_many(1..=size).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().is_some()));
    }
    let prepared = "SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE '%nextval%ANY%' \
                    OR statement LIKE '%ANY%nextval%'";
    assert_eq!(count(&mut *conn.lock().await, prepared).await, 1);
}

#[tokio::test]
async fn an_error_of_the_server_reaches_all_callers_with_its_code() {
    let database = database().await;
    let broken: Query<i32, String> =
        Query::new("broken", async |conn: &mut AsyncPgConnection, _: Vec<i32>| {
            let insert = "INSERT INTO users VALUES (1, 'another')";
            sql_query(insert).execute(conn).await?;
            Ok::<_, Error>(Vec::new())
        });
    let broken = broken.on(Source::opening(database.url()));
    let (one, two) = tokio::join!(broken.get(1), broken.get(2));
    for failed in [one.unwrap_err(), two.unwrap_err()] {
        assert_eq!(failed.class(), Class::Permanent);
        assert_eq!(failed.code(), Some(SqlState::UNIQUE_VIOLATION));
        let turned = Error::from(failed);
        assert_eq!(
            (turned.sqlstate(), turned.constraint()),
            (Some(SqlState::UNIQUE_VIOLATION), Some("users_pkey"))
        );
    }
}

#[tokio::test]
async fn a_statement_that_hangs_ends_with_the_timeout_and_the_next_batch_runs() {
    let database = database().await;
    let config = LoaderConfig { timeout: Some(Duration::from_millis(300)), ..LoaderConfig::default() };
    let slow: Query<i32, String> = Query::new("slow", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
        let sleeps = if ids.contains(&13) { "pg_sleep(60) IS NOT NULL" } else { "true" };
        let sleeps = diesel::dsl::sql::<diesel::sql_types::Bool>(sleeps);
        users::table.filter(users::id.eq_any(ids)).filter(sleeps).load::<(i32, String)>(conn).await
    });
    let slow = slow.with(config).on(Source::opening(database.url()));
    assert!(matches!(slow.get(13).await, Err(LoadError::TimedOut { .. })));
    assert_eq!(slow.get(1).await.unwrap().unwrap(), "user 1");
}

#[tokio::test]
async fn rows_of_several_to_a_key_are_grouped() {
    let database = database().await;
    let by_digits: Query<i32, Vec<i32>> =
        Query::new("by digits", async |conn: &mut AsyncPgConnection, digits: Vec<i32>| {
            let length = diesel::dsl::sql::<diesel::sql_types::Integer>("length(id::text)");
            let rows = users::table.select((length.clone(), users::id)).filter(length.eq_any(digits));
            let rows: Vec<(i32, i32)> = rows.order(users::id).load(conn).await?;
            Ok::<_, Error>(Found::grouped(rows))
        });
    let by_digits = by_digits.on(Source::opening(database.url()));
    let groups: HashMap<i32, usize> = [1, 2, 3]
        .into_iter()
        .zip(by_digits.get_many([1, 2, 3]).await.into_iter().map(|group| group.unwrap().unwrap().len()))
        .collect();
    assert_eq!(groups, HashMap::from([(1, 9), (2, 90), (3, 900)]));
}

#[tokio::test]
async fn callers_that_go_leave_no_statement_behind() {
    let database = database().await;
    let names = names().on(Source::opening(database.url()));
    let tasks: Vec<_> = (1..=100)
        .map(|n| {
            let names = names.clone();
            tokio::spawn(async move { names.get(n).await })
        })
        .collect();
    tokio::task::yield_now().await;
    tasks.iter().for_each(|task| task.abort());
    let mut conn = database.connect().await.unwrap();
    let busy =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'";
    until("only the one who asks is active", async || count(&mut conn, busy).await == 1).await;
    assert_eq!(names.get(7).await.unwrap().unwrap(), "user 7");
}

#[tokio::test]
async fn a_connection_is_taken_on_behalf_of_where_the_query_was_declared() {
    let sites = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&sites);
    let refusing: Source = Source::new(move |site| {
        noted.lock().unwrap().push(site.file());
        async { Err(Error::NotFound) }
    });
    assert!(names().on(refusing).get(1).await.is_err());
    let sites = sites.lock().unwrap();
    assert!(matches!(&**sites, [site] if site.ends_with("statements.rs")), "{sites:?}");
}
