//! Retries and transactions on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod breaker;
mod commit_outcome;
mod crashes;
mod going;
mod limits;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use db_core::{Acquire, Class, Classify, Error, Result};
use db_retry::{Begin, Isolation, Retry, RetryConfig};
use db_testkit::{Faulty, Proxy, Source, TestDatabase, fail_each};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::sync::Barrier;

/// Opens a connection for each acquire, wherever `url` says for the nth (from 0), which may do something
/// first.
fn steered<F>(url: impl Fn(u32) -> F + Send + Sync + 'static) -> Source
where
    F: Future<Output = String> + Send + 'static,
{
    let acquires = AtomicU32::new(0);
    Source::new(move |_| {
        let url = url(acquires.fetch_add(1, Ordering::Relaxed));
        async { Source::opening(url.await).acquire().await }
    })
}

/// A proxy before a database's server, and the database's URL through it.
fn proxied(database: &TestDatabase) -> (Proxy, String) {
    let port = database.url().rsplit_once(':').unwrap().1.split('/').next().unwrap().parse::<u16>().unwrap();
    let proxy = Proxy::start(("127.0.0.1", port)).unwrap();
    let url = proxy.through(database.url()).unwrap();
    (proxy, url)
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

async fn ledger() -> (TestDatabase, Source, AsyncPgConnection) {
    let database = TestDatabase::empty().await.unwrap();
    let mut observer = database.connect().await.unwrap();
    observer
        .batch_execute("CREATE TABLE ledger (n int PRIMARY KEY); CREATE TABLE counter AS SELECT 0 AS n")
        .await
        .unwrap();
    let direct = Source::opening(database.url());
    (database, direct, observer)
}

async fn insert(conn: &mut AsyncPgConnection, n: i32) -> Result<(), Error> {
    sql_query(format!("INSERT INTO ledger VALUES ({n})")).execute(conn).await?;
    Ok(())
}

fn retry() -> Retry {
    Retry::new(RetryConfig { base: Duration::from_millis(1), ..RetryConfig::default() })
}

#[tokio::test]
async fn a_transaction_commits_and_a_failed_one_leaves_nothing() {
    let (_database, direct, mut observer) = ledger().await;
    let retry = retry();
    retry
        .transaction::<_, _, Error>(&direct, Begin::default(), &(), async |conn| insert(conn, 1).await)
        .await
        .unwrap();
    let failed: Result<()> = retry
        .transaction(&direct, Begin::default(), &(), async |conn| {
            insert(conn, 2).await?;
            Err(Error::NotFound)
        })
        .await;
    assert!(matches!(failed, Err(Error::NotFound)), "the work's own error comes back");
    assert_eq!(number(&mut observer, "SELECT sum(n) AS n FROM ledger").await, 1);
}

#[tokio::test]
async fn an_error_that_the_work_swallowed_is_no_success() {
    let (_database, direct, mut observer) = ledger().await;
    let swallowed: Result<()> = retry()
        .transaction(&direct, Begin::default(), &(), async |conn| {
            insert(conn, 1).await?;
            let _ = conn.batch_execute("SELECT 1 / 0").await;
            Ok(())
        })
        .await;
    let error = swallowed.unwrap_err();
    assert_eq!(error.sqlstate().unwrap().as_str(), "25P02");
    assert_eq!(number(&mut observer, "SELECT count(*) AS n FROM ledger").await, 0);
}

#[tokio::test]
async fn a_unique_violation_names_its_constraint_and_is_not_tried_again() {
    let (_database, direct, _observer) = ledger().await;
    let retry = retry();
    for expected in [true, false] {
        let result: Result<()> =
            retry.transaction(&direct, Begin::default(), &(), async |conn| insert(conn, 1).await).await;
        assert_eq!(result.is_ok(), expected);
        if let Err(error) = result {
            assert!(matches!(error, Error::UniqueViolation(_)), "{error:?}");
            assert_eq!(error.constraint(), Some("ledger_pkey"));
            assert!(!format!("{error} {error:?}").contains("(n)=(1)"), "the row is not quoted: {error:?}");
        }
    }
    assert_eq!(retry.counts().total(), 0);
}

/// All read before any writes: in serializable transactions, all but one must run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicting_transactions_run_again_until_all_have_counted() {
    let (_database, direct, mut observer) = ledger().await;
    let retry = Retry::new(RetryConfig { attempts: 50.try_into().unwrap(), ..retry().config().clone() });
    let (all_have_read, mut tasks) = (Arc::new(Barrier::new(4)), tokio::task::JoinSet::new());
    for _ in 0..4 {
        let (direct, retry, barrier) = (direct.clone(), retry.clone(), Arc::clone(&all_have_read));
        tasks.spawn(async move {
            let begin = Begin { isolation: Some(Isolation::Serializable), ..Begin::default() };
            let first = Arc::new(AtomicU32::new(0));
            retry
                .transaction::<_, (), Error>(&direct, begin, &(), async |conn| {
                    number(conn, "SELECT n::bigint AS n FROM counter").await;
                    if first.fetch_add(1, Ordering::Relaxed) == 0 {
                        barrier.wait().await;
                    }
                    sql_query("UPDATE counter SET n = n + 1").execute(conn).await?;
                    Ok(())
                })
                .await
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap().unwrap();
    }
    assert_eq!(number(&mut observer, "SELECT n::bigint AS n FROM counter").await, 4);
    assert!(retry.counts().of(Class::Conflict) >= 3, "{:?}", retry.counts());
}

#[tokio::test]
async fn a_transaction_survives_any_one_acquire_that_fails() {
    let (_database, direct, mut observer) = ledger().await;
    let next = Arc::new(AtomicU32::new(0));
    let lost = || Error::ConnectionLost { reason: "planted".to_owned() };
    fail_each(direct, lost, async |faulty: Faulty<Source>| {
        let n = i32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
        retry()
            .transaction::<_, (), Error>(&faulty, Begin::default(), &(), async |conn| insert(conn, n).await)
            .await
            .unwrap();
    })
    .await
    .unwrap();
    let runs = i64::from(AtomicU32::load(&next, Ordering::Relaxed));
    assert!(runs >= 2);
    assert_eq!(number(&mut observer, "SELECT count(*) AS n FROM ledger").await, runs);
}

#[tokio::test]
async fn a_read_moves_to_another_connection() {
    let (_database, direct, _observer) = ledger().await;
    let (retry, runs) = (retry(), Arc::new(AtomicU32::new(0)));
    let n: i64 = retry
        .read(&direct, async |conn| {
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                conn.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await?;
            }
            Ok::<_, diesel::result::Error>(number(conn, "SELECT 7::bigint AS n").await)
        })
        .await
        .unwrap();
    assert_eq!((n, retry.counts().of(Class::Unavailable)), (7, 1));
}

#[tokio::test]
async fn a_read_that_gets_no_answer_is_given_up_and_tried_elsewhere() {
    let (_database, direct, _observer) = ledger().await;
    let limit = Some(Duration::from_millis(200));
    let retry = Retry::new(RetryConfig { read_timeout: limit, ..retry().config().clone() });
    let runs = Arc::new(AtomicU32::new(0));
    let n: i64 = retry
        .read(&direct, async |conn| {
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                conn.batch_execute("SELECT pg_sleep(600)").await?;
            }
            Ok::<_, diesel::result::Error>(number(conn, "SELECT 7::bigint AS n").await)
        })
        .await
        .unwrap();
    assert_eq!((n, retry.counts().of(Class::Overloaded)), (7, 1));
}

#[tokio::test]
async fn a_caller_that_waited_for_a_connection_in_vain_is_not_made_to_wait_again() {
    let (_database, direct, _observer) = ledger().await;
    let faulty = Faulty::new(direct);
    let in_vain = || Error::PoolTimeout {
        endpoint: db_core::Endpoint::new("db", 5432),
        waited: Duration::from_secs(5),
        open: 1,
        idle: 0,
        waiting: 1,
        max: 1,
        oldest: None,
    };
    faulty.fail_from(1, in_vain);
    let retry = retry();
    let read: Result<i64> =
        retry.read(&faulty, async |conn| Ok::<_, Error>(number(conn, "SELECT 7::bigint AS n").await)).await;
    let written: Result<()> =
        retry.transaction(&faulty, Begin::default(), &(), async |conn| insert(conn, 1).await).await;
    assert!(matches!((read, written), (Err(Error::PoolTimeout { .. }), Err(Error::PoolTimeout { .. }))));
    assert_eq!(faulty.acquires(), 2, "one each");
}

#[tokio::test]
async fn the_servers_errors_have_their_class() {
    let (_database, direct, _observer) = ledger().await;
    let mut conn = direct.acquire().await.unwrap();
    let cases = [
        ("SET statement_timeout = 1", "SELECT pg_sleep(10)", "57014", Class::Overloaded),
        (
            "SET default_transaction_read_only = on",
            "INSERT INTO ledger VALUES (1)",
            "25006",
            Class::Unavailable,
        ),
        ("", "INSERT INTO ledger VALUES (NULL)", "23502", Class::Permanent),
        ("", "SELEC 1", "42601", Class::Permanent),
    ];
    for (setting, sql, code, class) in cases {
        conn.batch_execute(setting).await.unwrap();
        let error = Error::from(conn.batch_execute(sql).await.unwrap_err());
        assert_eq!((error.sqlstate().unwrap().as_str(), error.class()), (code, class), "{sql}: {error}");
        conn.batch_execute("RESET ALL").await.unwrap();
    }
}
