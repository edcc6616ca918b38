//! What is tried again, what is not, and for how long a caller waits, through the calls of a service.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use db_platform::{Class, Classify, Config, Db, Environment, Error, Result, RetryConfig};
use db_testkit::{Cluster, TestDatabase, until};
use diesel::QueryDsl;
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::TryStreamExt;

use crate::Number;

mod schema {
    diesel::table! { words (id) { id -> Integer, word -> Text, } }
}
use schema::words;

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    use diesel_async::RunQueryDsl;
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

async fn word(conn: &mut AsyncPgConnection) -> Result<String> {
    use diesel_async::RunQueryDsl;
    Ok(words::table.select(words::word).first(conn).await?)
}

fn config(url: &str) -> Config {
    Config::new(Environment::Test, url.parse().unwrap())
}

/// Each warm connection has prepared the query and would answer "cached plan must not change result type".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_succeeds_on_a_new_connection_succeeds_on_a_warm_one() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner
        .batch_execute("CREATE TABLE words (id int, word varchar(9)); INSERT INTO words VALUES (1, 'one')")
        .await
        .unwrap();
    // A call's very first attempt may not be its last, whatever the configuration says.
    let mut never = config(database.url());
    never.retry = RetryConfig::never();
    never.pool.max = NonZeroUsize::new(4).unwrap();
    let db = Db::connect(never).await.unwrap();
    for change in ["text", "varchar(20)", "text", "varchar(9)"] {
        let warm = async || {
            let mut held = Vec::new();
            for _ in 0..4 {
                let mut conn = db.primary().await.unwrap();
                word(&mut conn).await.map(drop).unwrap_or_default();
                held.push(conn);
            }
        };
        warm().await;
        owner.batch_execute(&format!("ALTER TABLE words ALTER word TYPE {change}")).await.unwrap();
        for _ in 0..8 {
            let read: Result<String> = db.read(async |conn| word(conn).await).await;
            assert_eq!(read.unwrap(), "one", "{change}");
            let wrote: Result<String> = db
                .transaction(async |conn| {
                    conn.batch_execute("UPDATE words SET id = id + 1").await?;
                    word(conn).await
                })
                .await;
            assert_eq!(wrote.unwrap(), "one", "{change}");
        }
    }
    assert_eq!(number(&mut owner, "SELECT id::int8 AS n FROM words").await, 33, "each transaction once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_was_not_to_be_had_is_one_attempt() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    owner.batch_execute("BEGIN; SELECT 1 FROM t FOR UPDATE").await.unwrap();
    let db = Db::connect(config(database.url())).await.unwrap();
    let runs = AtomicU32::new(0);
    let waits = [
        "LOCK TABLE t NOWAIT",
        "SELECT 1 FROM t FOR UPDATE NOWAIT",
        "SET LOCAL lock_timeout = '1ms'; LOCK TABLE t",
    ];
    for wait in waits {
        let locks = async |db: &Db| -> Result<()> {
            db.transaction(async |conn| {
                runs.fetch_add(1, Ordering::Relaxed);
                Ok(conn.batch_execute(wait).await?)
            })
            .await
        };
        let refused = locks(&db).await.unwrap_err();
        assert_eq!(refused.sqlstate().unwrap().as_str(), "55P03", "{wait}");
        assert_eq!(runs.swap(0, Ordering::Relaxed), 1, "{wait}");
        let asked = RetryConfig { lock_timeouts: true, ..RetryConfig::operation() };
        locks(&db.with_retry(asked)).await.unwrap_err();
        assert_eq!(runs.swap(0, Ordering::Relaxed), 4, "{wait}: where the caller asked for it");
    }
    owner.batch_execute("LOCK TABLE t").await.unwrap();
    let read: Result<()> = db
        .read(async |conn| {
            runs.fetch_add(1, Ordering::Relaxed);
            let locks = "BEGIN; LOCK TABLE t IN ACCESS SHARE MODE NOWAIT; COMMIT";
            conn.batch_execute(locks).await.map_err(Error::from)
        })
        .await;
    assert_eq!(read.unwrap_err().sqlstate().unwrap().as_str(), "55P03");
    assert_eq!(runs.swap(0, Ordering::Relaxed), 1, "a read likewise");
}

/// An operator ends what runs: once may be an accident, twice is a wish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_ends_is_not_undone() {
    let database = TestDatabase::empty().await.unwrap();
    let mut limited = config(database.url());
    limited.connect.statement_timeout = Some(Duration::from_secs(600));
    let db = Db::connect(limited).await.unwrap();
    for (function, wished) in [("pg_cancel_backend", 1), ("pg_terminate_backend", 2)] {
        let runs = Arc::new(AtomicU32::new(0));
        let (reader, ran) = (db.clone(), Arc::clone(&runs));
        let reading = tokio::spawn(async move {
            let sleeps = "SELECT pg_sleep(300)";
            let read: Result<()> = reader
                .read(async |conn| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    conn.batch_execute(sleeps).await.map_err(Error::from)
                })
                .await;
            read.unwrap_err()
        });
        let mut operator = database.connect().await.unwrap();
        let end = format!(
            "SELECT count({function}(pid)) AS n FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)' \
             AND state = 'active' AND datname = current_database()"
        );
        let mut ended = 0;
        until("the read ends", async || {
            ended += number(&mut operator, &end).await;
            reading.is_finished()
        })
        .await;
        reading.await.unwrap();
        assert_eq!(AtomicU32::load(&runs, Ordering::Relaxed), wished, "{function}, sent {ended} times");
    }
}

/// The cursor of a stream is opened again where that helps, and no more often than a read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_ends_is_not_undone_by_a_stream() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE words (id int, word text)").await.unwrap();
    owner.batch_execute("BEGIN; LOCK TABLE words").await.unwrap();
    let mut limited = config(database.url());
    limited.connect.statement_timeout = Some(Duration::from_secs(600));
    let db = Db::connect(limited).await.unwrap();
    for (function, wished) in [("pg_cancel_backend", 1), ("pg_terminate_backend", 2)] {
        let reader = db.clone();
        let reading = tokio::spawn(async move {
            reader.stream::<(i32, String)>(words::table, 10).try_collect::<Vec<_>>().await.unwrap_err()
        });
        let mut operator = database.connect().await.unwrap();
        // Each session counts once, however long it takes to end.
        let end = format!(
            "SELECT count(*) FILTER (WHERE {function}(pid)) AS n FROM pg_stat_activity WHERE query LIKE 'DECLARE%' \
             AND wait_event_type = 'Lock' AND datname = current_database()"
        );
        let mut ended = 0;
        until("the stream ends", async || {
            ended += number(&mut operator, &end).await;
            reading.is_finished()
        })
        .await;
        reading.await.unwrap();
        assert!(ended >= wished, "{function}, sent {ended} times");
        let attempts = db.retries().total();
        assert_eq!(attempts, if function == "pg_cancel_backend" { 0 } else { 1 }, "{function}");
    }
}

/// Nothing has answered, so nothing is paid for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_got_no_connection_pays_for_no_retries() {
    let database = TestDatabase::empty().await.unwrap();
    let mut narrow = config(database.url());
    (narrow.read_pool.max, narrow.pool.max) = (NonZeroUsize::MIN, NonZeroUsize::MIN);
    narrow.read_pool.acquire_timeout = Some(Duration::from_millis(100));
    let db = Db::connect(narrow).await.unwrap();
    let one = async |conn: &mut AsyncPgConnection| conn.batch_execute("SELECT 1").await.map_err(Error::from);
    until("its one connection is open", async || db.read(one).await.is_ok()).await;
    let (held, release) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let mut holding = tokio::spawn({
        let (db, held, release) = (db.clone(), Arc::clone(&held), Arc::clone(&release));
        async move {
            let read: Result<()> = db
                .read(async move |_: &mut AsyncPgConnection| {
                    held.notify_one();
                    release.notified().await;
                    Ok::<_, Error>(())
                })
                .await;
            read.unwrap();
        }
    });
    tokio::select! {
        () = held.notified() => {}
        ended = &mut holding => panic!("the connection is not held: {ended:?}"),
    }
    let before = db.retry_budget().unwrap().available;
    for _ in 0..5 {
        let refused = db.stream::<(i32, String)>(words::table, 10).try_collect::<Vec<_>>().await.unwrap_err();
        assert!(matches!(refused, Error::PoolTimeout { .. }), "{refused}");
    }
    assert!(db.retry_budget().unwrap().available <= before);
    release.notify_one();
    holding.await.unwrap();
}

const RAISE: &str = "DO $$ BEGIN RAISE EXCEPTION 'planted'; END $$";

fn is_raised(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| code.as_str() == "P0001")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_decides_for_one_call() {
    let database = TestDatabase::empty().await.unwrap();
    let db = Db::connect(config(database.url())).await.unwrap();
    let runs = AtomicU32::new(0);
    let raise = async |conn: &mut AsyncPgConnection| {
        runs.fetch_add(1, Ordering::Relaxed);
        conn.batch_execute(RAISE).await.map_err(Error::from)
    };
    db.read(raise).await.unwrap_err();
    assert_eq!(runs.swap(0, Ordering::Relaxed), 1);
    let read = db.build_read().retry_if(is_raised).run(raise).await;
    assert!(is_raised(&read.unwrap_err()), "the caller gets the error as it was");
    assert_eq!(runs.swap(0, Ordering::Relaxed), 4);
    let twice = RetryConfig { attempts: 2.try_into().unwrap(), ..RetryConfig::operation() };
    db.build_read().retry_if(is_raised).retry(twice.clone()).run(raise).await.unwrap_err();
    assert_eq!(runs.swap(0, Ordering::Relaxed), 2);
    db.build_transaction().retry_if(is_raised).run(raise).await.unwrap_err();
    assert_eq!(runs.swap(0, Ordering::Relaxed), 4);
    db.build_transaction().retry(twice).retry_if(is_raised).run(raise).await.unwrap_err();
    assert_eq!(runs.swap(0, Ordering::Relaxed), 2);
    db.build_transaction().retry_if(|_: &Error| false).run(raise).await.unwrap_err();
    assert_eq!(runs.swap(0, Ordering::Relaxed), 1);
}

/// It is the caller's code: it may panic, and it cannot know what was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_panics_or_says_yes_to_all_does_no_harm() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let db = Db::connect(config(database.url())).await.unwrap();
    let runs = AtomicU32::new(0);
    let raise = async |conn: &mut AsyncPgConnection| {
        runs.fetch_add(1, Ordering::Relaxed);
        conn.batch_execute(RAISE).await.map_err(Error::from)
    };
    let panics = |_: &Error| -> bool { panic!("planted") };
    assert!(is_raised(&db.build_read().retry_if(panics).run(raise).await.unwrap_err()));
    assert!(is_raised(&db.build_transaction().retry_if(panics).run(raise).await.unwrap_err()));
    assert_eq!(runs.swap(0, Ordering::Relaxed), 2, "one attempt each");

    for end in ["COMMIT", "COMMIT; BEGIN"] {
        let ended: Result<()> = db
            .build_transaction()
            .retry_if(|_: &Error| true)
            .run(async |conn| {
                runs.fetch_add(1, Ordering::Relaxed);
                conn.batch_execute("INSERT INTO t VALUES (1)").await?;
                Ok(conn.batch_execute(end).await?)
            })
            .await;
        assert!(matches!(ended, Err(Error::TransactionEnded { .. })), "{end}: {ended:?}");
        assert_eq!(runs.swap(0, Ordering::Relaxed), 1, "{end}");
    }
    assert_eq!(number(&mut owner, "SELECT count(*) AS n FROM t").await, 2, "once each");
}

/// All slots are taken: a caller waits for as long as it was willing to, and not once more for each attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wait_for_a_connection_is_bounded_once() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner.batch_execute("CREATE ROLE app LOGIN PASSWORD 'app'").await.unwrap();
    let address = cluster.address_of(0).unwrap();
    let mut few = config(&format!("postgres://app:app@{address}/{}", database_of(&cluster)));
    (few.pool.min, few.read_pool.min) = (0, 0);
    let patience = Duration::from_millis(700);
    (few.pool.acquire_timeout, few.read_pool.acquire_timeout) = (Some(patience), Some(patience));
    let db = Db::connect(few).await.unwrap();
    // The monitor has one, and nobody else gets any.
    owner.batch_execute("ALTER ROLE app CONNECTION LIMIT 0").await.unwrap();
    owner
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND query NOT LIKE '%recovery%'",
        )
        .await
        .unwrap();
    let waited = async |call: &str| {
        let started = Instant::now();
        let error = match call {
            "read" => db.read(async |conn| word(conn).await).await.map(drop).unwrap_err(),
            "transaction" => {
                let wrote: Result<()> = db.transaction(async |conn| word(conn).await.map(drop)).await;
                wrote.unwrap_err()
            }
            _ => db.primary().await.map(drop).unwrap_err(),
        };
        assert!(error.is_before_work(), "{call}: {error}");
        (started.elapsed(), error)
    };
    for call in ["read", "transaction", "primary"] {
        let (elapsed, error) = waited(call).await;
        assert!(elapsed < patience * 2, "{call} took {elapsed:?}: {error}");
        assert_ne!(error.class(), Class::Permanent, "{call}: {error}");
    }
}

fn database_of(cluster: &Cluster) -> String {
    let url: db_platform::DatabaseUrl = cluster.primary_url().parse().unwrap();
    url.database().to_owned()
}
