//! The time that one call may take: the caller goes, the server stops, the connection stays; only COMMIT is
//! waited for.

use std::time::{Duration, Instant};

use db_platform::{Db, Error};
use db_testkit::{TestDatabase, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{Number, alone};

const SHORT: Duration = Duration::from_millis(300);

/// Two handles on one database: one with all the time in the world, and the same with little.
async fn handles() -> (TestDatabase, Db, Db) {
    let database = TestDatabase::empty().await.unwrap();
    let db = alone(&database, |config| {
        config.pool.max = 1.try_into().unwrap();
        config.read_pool.max = 1.try_into().unwrap();
    })
    .await;
    let hurried = db.with_timeout(SHORT);
    (database, db, hurried)
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

#[track_caller]
fn check<T: std::fmt::Debug>(result: Result<T, Error>, started: Instant) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { waited } if waited == SHORT), "{error:?}");
    assert!(
        started.elapsed() >= SHORT && started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_here_and_on_the_server_and_its_connection_is_kept() {
    let (database, db, hurried) = handles().await;
    let mut observer = database.connect().await.unwrap();
    observer.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    let asleep = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";

    check(
        hurried.read(async |conn| conn.batch_execute("SELECT pg_sleep(600)").await).await,
        Instant::now() - SHORT,
    );
    let started = Instant::now();
    let written = hurried.transaction::<(), Error>(async |conn| {
        conn.batch_execute("UPDATE t SET n = 2").await?;
        Ok(conn.batch_execute("SELECT pg_sleep(600)").await?)
    });
    check(written.await, started);
    observer.batch_execute("SET lock_timeout = '10s'; UPDATE t SET n = 3").await.unwrap();
    until("the server has stopped", async || count(&mut observer, asleep).await == 0).await;

    let n = db.read(async |conn| sql_query("SELECT n::bigint FROM t").get_result::<Number>(conn).await).await;
    assert_eq!(n.unwrap().n, 3);
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("UPDATE t SET n = 4").await?))
        .await
        .unwrap();
    for pool in db.pools() {
        assert_eq!((pool.creates(), pool.salvages), (1, 1), "{pool:?}");
    }
}

#[tokio::test]
async fn waiting_for_a_connection_counts() {
    let (_database, db, hurried) = handles().await;
    let held = db.primary().await.unwrap();
    let started = Instant::now();
    check(hurried.primary().await.map(drop), started);
    let started = Instant::now();
    let refused = hurried.transaction::<(), Error>(async |conn| Ok(conn.batch_execute("SELECT 1").await?));
    check(refused.await, started);
    drop(held);
    assert!(hurried.primary().await.is_ok());
}

#[tokio::test]
async fn a_commit_that_was_sent_is_waited_for() {
    let (database, _db, hurried) = handles().await;
    let mut observer = database.connect().await.unwrap();
    observer
        .batch_execute(
            "CREATE TABLE t (n int);
             CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.45); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    let started = Instant::now();
    let written = hurried.transaction::<_, Error>(async |conn| {
        conn.batch_execute("INSERT INTO t VALUES (1)").await?;
        Ok(7)
    });
    assert_eq!(written.await.unwrap(), 7);
    assert!(started.elapsed() > SHORT, "COMMIT took longer than the call had");
    assert_eq!(count(&mut observer, "SELECT count(*) AS n FROM t").await, 1);
}

#[tokio::test]
async fn work_knows_how_much_time_it_has() {
    let (_database, db, hurried) = handles().await;
    let left = async |db: &Db| {
        let asked = db.read(async |conn| {
            conn.batch_execute("SELECT 1").await?;
            Ok::<_, Error>(db_platform::retry::time_left())
        });
        asked.await.unwrap().unwrap()
    };
    assert!(left(&hurried).await <= SHORT);
    assert!(left(&db).await > Duration::from_secs(1), "the other handle is as it was");
}

/// The caller's own guard follows what the server was told, whoever told it.
#[tokio::test]
async fn a_read_may_take_as_long_as_the_urls_or_the_databases_statement_timeout_says() {
    let database = TestDatabase::empty().await.unwrap();
    let mut admin = database.connect().await.unwrap();
    let set = format!("ALTER DATABASE {} SET statement_timeout = '20s'", database.name());
    let long = "SELECT pg_sleep(3)";
    let default = |config: &mut db_platform::Config| {
        config.connect.statement_timeout = Some(SHORT);
        config.connect.defaults.statement_timeout = Some(Some(SHORT));
    };
    let read = async |db: &Db| db.read(async |conn| conn.batch_execute(long).await).await;
    let short = alone(&database, default).await;
    let refused = read(&short).await.unwrap_err();
    assert!(matches!(refused, Error::QueryTimeout(_)), "{refused:?}");

    let options = "options=-c%20statement_timeout%3D20s";
    let mark = if database.url().contains('?') { '&' } else { '?' };
    let url: db_platform::DatabaseUrl = format!("{}{mark}{options}", database.url()).parse().unwrap();
    let named = alone(&database, |config| {
        default(config);
        config.url = url;
    })
    .await;
    admin.batch_execute(&set).await.unwrap();
    let altered = alone(&database, default).await;
    let (by_url, by_database) = tokio::join!(read(&named), read(&altered));
    by_url.unwrap();
    by_database.unwrap();
}
