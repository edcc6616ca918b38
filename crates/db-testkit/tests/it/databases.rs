//! Test databases within one process.

use crate::{children, connect, one};
use db_testkit::{TestDatabase, TestkitError};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};

const SCHEMA: &str = "CREATE TABLE t (n int); INSERT INTO t VALUES (1)";

async fn schema(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    conn.batch_execute(SCHEMA).await
}

async fn exists(name: &str) -> bool {
    let other = TestDatabase::empty().await.unwrap();
    let client = connect(other.url()).await.unwrap();
    client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await.unwrap().is_some()
}

#[tokio::test]
async fn a_clone_is_independent_of_its_template_and_of_other_clones() {
    let first = TestDatabase::from_template(SCHEMA, schema).await.unwrap();
    let changed = connect(first.url()).await.unwrap();
    changed.batch_execute("INSERT INTO t VALUES (2); CREATE TABLE mine ()").await.unwrap();
    let second = TestDatabase::from_template(SCHEMA, schema).await.unwrap();
    let fresh = connect(second.url()).await.unwrap();
    assert_eq!(one::<i64>(&fresh, "SELECT count(*) FROM t").await, 1);
    assert!(one::<bool>(&fresh, "SELECT to_regclass('mine') IS NULL").await);
    assert_eq!(one::<i64>(&changed, "SELECT count(*) FROM t").await, 2);
    assert_ne!(first.name(), second.name());
}

#[tokio::test]
async fn an_empty_database_is_empty() {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await.unwrap();
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(one::<i64>(&client, tables).await, 0);
    assert_eq!(one::<String>(&client, "SELECT current_database()::text").await, database.name());
}

#[tokio::test]
async fn tests_that_want_a_template_at_once_share_the_filling() {
    let filled = AtomicUsize::new(0);
    let one_clone = async || {
        TestDatabase::from_template("shared by concurrent tests", async |conn| {
            filled.fetch_add(1, Ordering::Relaxed);
            schema(conn).await
        })
        .await
        .unwrap()
    };
    let clones = tokio::join!(one_clone(), one_clone(), one_clone(), one_clone());
    assert_eq!(filled.load(Ordering::Relaxed), 1);
    assert_ne!(clones.0.name(), clones.3.name());
}

#[tokio::test]
async fn a_template_that_could_not_be_filled_is_not_used() {
    let name = "fails at first";
    let error = TestDatabase::from_template(name, async |conn| {
        schema(conn).await.unwrap();
        Err::<(), _>("the migration is wrong")
    })
    .await
    .unwrap_err();
    assert!(
        matches!(&error, TestkitError::Template { content_hash, .. } if content_hash == name),
        "{error:?}"
    );
    let panicked = tokio::spawn(async {
        TestDatabase::from_template("fails at first", async |conn| -> diesel::QueryResult<()> {
            schema(conn).await?;
            panic!("the migration panics")
        })
        .await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let database =
        TestDatabase::from_template(name, async |conn| conn.batch_execute("CREATE TABLE right ()").await);
    assert!(database.await.is_err(), "a reserved word: fails the third time too");
    let database = TestDatabase::from_template(name, schema).await.unwrap();
    let client = connect(database.url()).await.unwrap();
    assert_eq!(one::<i64>(&client, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn a_database_is_dropped_with_its_value_though_connections_are_open() {
    let database = TestDatabase::empty().await.unwrap();
    let name = database.name().to_owned();
    let client = connect(database.url()).await.unwrap();
    assert!(exists(&name).await);
    drop(database);
    assert!(!exists(&name).await, "it is gone when drop returns");
    assert!(client.query_one("SELECT 1", &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_dropped_on_a_runtime_with_many_threads() {
    let database = TestDatabase::empty().await.unwrap();
    let name = database.name().to_owned();
    tokio::spawn(async move { drop(database) }).await.unwrap();
    assert!(!exists(&name).await);
}

#[tokio::test]
async fn a_database_is_dropped_during_a_panic() {
    let database = TestDatabase::empty().await.unwrap();
    let name = database.name().to_owned();
    let panic = std::panic::catch_unwind(AssertUnwindSafe(move || {
        let _database = database;
        panic!("the test fails");
    }));
    assert!(panic.is_err());
    assert!(!exists(&name).await);
}

#[test]
fn a_database_outlives_the_runtime_that_made_it_and_is_dropped_without_one() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let database = runtime().block_on(TestDatabase::empty()).unwrap();
    let name = database.name().to_owned();
    assert!(runtime().block_on(exists(&name)));
    drop(database);
    assert!(!runtime().block_on(exists(&name)));
}

#[tokio::test]
async fn a_clone_whose_caller_went_away_is_dropped() {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await.unwrap();
    // A process of its own, so that every database of its run is one of those.
    let mut child = children::start("abandoned clones", Some(database.url()), None);
    let run = child.heard();
    let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{run}')");
    crate::until("the end of abandoned clones", async || one::<i64>(&client, &left).await == 0).await;
    assert!(child.child.try_wait().unwrap().is_none(), "it has not ended: no sweeper was needed");
}
