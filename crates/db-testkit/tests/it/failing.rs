//! Acquires that fail one by one.

use crate::{connect, one};
use db_core::{Acquire, Error, Result};
use db_testkit::{Faulty, Source, TestDatabase, assert_passes_on, fail_each, fail_from_each};
use diesel_async::RunQueryDsl;

fn lost() -> Error {
    Error::ConnectionLost { reason: "told to".to_owned() }
}

/// Three steps, each on a connection of its own.
async fn count_to_three(source: &impl Acquire) -> Result<()> {
    for n in 1..=3 {
        let mut conn = source.acquire().await?;
        diesel::sql_query(format!("INSERT INTO t VALUES ({n})")).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn database() -> (TestDatabase, tokio_postgres::Client) {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    (database, client)
}

#[tokio::test]
async fn each_acquire_of_a_scenario_fails_once_and_the_last_run_is_clean() {
    let (database, client) = database().await;
    let fresh = Source::opening(database.url());
    let mut done = Vec::new();
    let runs = fail_each(&fresh, lost, async |faulty| {
        client.batch_execute("TRUNCATE t").await.unwrap();
        let result = count_to_three(&faulty).await;
        assert_eq!(result.is_err(), faulty.failures() == 1);
        done.push(one::<i64>(&client, "SELECT count(*) FROM t").await);
    })
    .await
    .unwrap();
    assert_eq!((runs, done), (4, vec![0, 1, 2, 3]));
}

#[tokio::test]
async fn a_server_that_is_gone_fails_every_acquire_from_the_nth_on() {
    let (database, client) = database().await;
    let fresh = Source::opening(database.url());
    let mut done = Vec::new();
    let runs = fail_from_each(&fresh, lost, async |faulty| {
        client.batch_execute("TRUNCATE t").await.unwrap();
        let _ = count_to_three(&faulty).await;
        // A second try would succeed after a hiccup; here it must not.
        let again = faulty.acquire().await;
        assert_eq!(again.is_err(), faulty.failures() > 0);
        done.push(one::<i64>(&client, "SELECT count(*) FROM t").await);
    })
    .await
    .unwrap();
    assert_eq!((runs, done), (5, vec![0, 1, 2, 3, 3]));
}

#[tokio::test]
async fn a_chosen_acquire_fails_and_its_neighbours_do_not() {
    let (database, _client) = database().await;
    let faulty = Faulty::new(Source::opening(database.url()));
    assert!(faulty.acquire().await.is_ok());
    faulty.fail_nth(2, lost);
    assert!(faulty.acquire().await.is_ok());
    assert!(matches!(faulty.acquire().await, Err(Error::ConnectionLost { .. })));
    assert!(faulty.acquire().await.is_ok());
    faulty.fail_from(1, lost);
    assert!(faulty.acquire().await.is_err() && faulty.acquire().await.is_err());
    faulty.heal();
    assert!(faulty.acquire().await.is_ok());
    assert_eq!((faulty.acquires(), faulty.failures()), (7, 3));
}

#[tokio::test]
async fn a_faulty_source_and_a_borrowed_one_hide_nothing_of_what_they_wrap() {
    let database = TestDatabase::empty().await.unwrap();
    assert_passes_on(database.url(), Faulty::new).await;
    assert_passes_on(database.url(), |source| -> &'static Source { Box::leak(Box::new(source)) }).await;
}
