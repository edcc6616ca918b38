//! What is known of a service's statements: durations, rows, errors, cancellations, and who asked.

use std::time::Duration;

use db_platform::core::WorkScope;
use db_platform::monitoring::StatementStats;
use db_platform::replica_routing::ReadConsistency;
use db_platform::retry::marker;
use db_platform::{Db, Error, Resolve, batch};
use db_testkit::{TestDatabase, until};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tracing::{Instrument, Level};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::log::Log;
use crate::{Number, alone};

diesel::table! { users (id) { id -> Integer, name -> Text, } }

async fn service(configure: impl FnOnce(&mut db_platform::Config)) -> (TestDatabase, Db) {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL)").await.unwrap();
    conn.batch_execute("INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 400) n")
        .await
        .unwrap();
    let db = alone(&database, configure).await;
    (database, db)
}

/// The statements whose text ends with this.
fn found(db: &Db, end: &str) -> Vec<StatementStats> {
    db.monitor().statements().into_iter().filter(|statement| statement.text.ends_with(end)).collect()
}

/// How many errors there were, and how many statements were cancelled.
fn failed(db: &Db) -> (u64, u64) {
    let counts = db.monitor().counts();
    (counts.errors(), counts.cancelled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_transactions_are_counted_by_statement_and_nobodys_own_questions() {
    let (_database, db) = service(|_| {}).await;
    for id in 1..=5 {
        let one = async move |conn: &mut AsyncPgConnection| {
            users::table.find(id).select(users::name).first::<String>(conn).await
        };
        db.read(one).await.unwrap();
    }
    let (all, count): (Vec<String>, i64) = db
        .batch((batch::rows(users::table.select(users::name)), batch::row(users::table.count())))
        .await
        .unwrap();
    assert_eq!((all.len(), count), (400, 400));
    let renames = async |conn: &mut AsyncPgConnection| {
        diesel::update(users::table.find(1)).set(users::name.eq("hunter2")).execute(conn).await?;
        Ok::<_, Error>(())
    };
    db.transaction(renames).await.unwrap();
    db.health();

    let [one] = &found(&db, "users.id = ?) limit ?")[..] else { panic!("{:?}", db.monitor().statements()) };
    assert_eq!((one.durations.count(), one.rows, one.errors), (5, 5, 0));
    assert_eq!((one.summary.as_str(), one.summary.collection()), ("SELECT users", Some("users")));
    let [all] = &found(&db, "select users.name from users")[..] else {
        panic!("{:?}", db.monitor().statements())
    };
    assert!(all.rows == 400 && all.bytes > 400 * 12 && all.mean_first_row.unwrap() <= all.max, "{all:?}");
    assert_eq!(found(&db, "update users set name = ? where (users.id = ?)")[0].durations.count(), 1);
    assert_eq!(found(&db, "commit")[0].durations.count(), 1);
    assert_eq!(failed(&db), (0, 0));
    assert!(!format!("{:?}", db.monitor()).contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_behind_the_first_rows_and_cancellations_are_counted_once() {
    let (_database, db) = service(|config| config.retry.attempts = 1.try_into().unwrap()).await;
    let late = "SELECT (1 / (300 - id))::int8 AS n, repeat('x', 1000) FROM users ORDER BY id";
    let failing = db.read(async |conn| sql_query(late).load::<Number>(conn).await.map(|_| ()));
    failing.await.unwrap_err();
    let seen = &found(&db, "from users order by id")[0];
    assert_eq!((seen.errors, seen.cancelled, seen.durations.count()), (1, 0, 1));
    assert!((1..300).contains(&seen.rows), "{seen:?}");
    assert_eq!(failed(&db), (1, 0));

    let slow = db.read(async |conn| sql_query("SELECT pg_sleep(600)").execute(conn).await);
    tokio::time::timeout(Duration::from_millis(50), slow).await.unwrap_err();
    until("its end is there", async || failed(&db) == (2, 1)).await;
    let seen = &found(&db, "pg_sleep(?)")[0];
    assert!(seen.durations.count() == 1 && seen.max < Duration::from_secs(60), "{seen:?}");

    // A future that nobody polls sends nothing.
    let before = db.monitor().statements().len();
    let mut conn = db.primary().await.unwrap();
    drop(sql_query("SELECT never").execute(&mut conn));
    conn.batch_execute("SELECT 1 AS sent").await.unwrap();
    assert_eq!((found(&db, "never").len(), found(&db, "as sent").len()), (0, 1));
    assert!(db.monitor().statements().len() > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_query_tells_who_asked_and_no_value() {
    let threshold = Some(Duration::from_millis(20));
    let (_database, db) = service(|config| config.monitoring.slow_query_threshold = threshold).await;
    let sleeps = async |conn: &mut AsyncPgConnection| {
        let query = sql_query("SELECT pg_sleep($1 / 1000.0), 'hunter2', $2");
        query.bind::<Integer, _>(30).bind::<Text, _>("swordfish").execute(conn).await
    };
    let line = line!() + 1;
    let reading = WorkScope::named("GET /slow").run(db.read(sleeps));
    reading.await.unwrap();
    let slow = db.slow_queries(10);
    let [slow] = &slow[..] else { panic!("{slow:?}") };
    assert_eq!(&*slow.text, "select pg_sleep(? / ?), ?, ?");
    assert!(slow.count == 1 && slow.max >= Duration::from_millis(30) && slow.mean() == slow.max, "{slow:?}");
    assert_eq!((slow.site.unwrap().file(), slow.site.unwrap().line()), (file!(), line));
    assert_eq!(slow.scope.as_ref().unwrap().name(), "GET /slow");
    assert_eq!(db.monitor().counts().slow, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turned_off_it_knows_nothing() {
    let (_database, db) = service(|config| config.monitoring.enabled = false).await;
    db.read(async |conn| sql_query("SELECT 1").execute(conn).await).await.unwrap();
    assert!(db.monitor().statements().is_empty());
    assert!(!db.health().parts.iter().any(|part| part.name == "monitoring"));
}

/// On one thread, which is the one that the subscriber listens to.
#[tokio::test]
async fn each_statement_has_a_span_in_its_callers_that_lasts_as_long() {
    let (_database, db) = service(|_| {}).await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _listens = tracing::subscriber::set_default(subscriber);
    let sleeps = async |conn: &mut AsyncPgConnection| {
        sql_query("SELECT pg_sleep(0.05), 'hunter2'").execute(conn).await?;
        sql_query("SELECT 1 / (id - 1) FROM users WHERE name = 'swordfish' OR id = 1").execute(conn).await
    };
    db.read(sleeps).instrument(tracing::info_span!("request", id = 7)).await.unwrap_err();
    let (slept, failed) = (["select pg_sleep(?), ?", "close"], ["from users", "close"]);
    until("both are closed", async || log.line(&slept).is_some() && log.line(&failed).is_some()).await;
    let (slept, failed) = (log.line(&slept).unwrap(), log.line(&failed).unwrap());
    for part in [
        "request{id=7}:query{otel.name=\"SELECT\"",
        "db.response.returned_rows=1",
        "server.port=",
        "monitoring.rs",
    ] {
        assert!(slept.contains(part), "{part}: {slept}");
    }
    assert!(!slept.contains("status_code"), "{slept}");
    let idle = slept.split("time.idle=").nth(1).unwrap();
    let millis: f64 = idle.strip_suffix("ms").unwrap_or("1000").parse().unwrap();
    assert!((50.0..10_000.0).contains(&millis), "{slept}");
    for part in
        ["otel.name=\"SELECT users\"", "db.response.status_code=\"22012\"", "otel.status_code=\"ERROR\""]
    {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    for value in ["hunter2", "swordfish"] {
        assert_eq!(log.count(value), 0);
    }
}

#[tokio::test]
async fn a_pool_under_pressure_is_warned_of_once() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _listens = tracing::subscriber::set_default(subscriber);
    let (_database, db) = service(|config| config.pool.max = 1.try_into().unwrap()).await;
    let held = db.primary().await.unwrap();
    let waits = tokio::spawn({
        let db = db.clone();
        async move { db.primary().await.map(drop) }
    });
    until("it is said", async || log.count("a pool is under pressure") > 0).await;
    let line = log.line(&["a pool is under pressure"]).unwrap();
    assert!(line.contains("WARN") && line.contains("in_use=1 max=1 waiting=1"), "{line}");
    drop(held);
    waits.await.unwrap().unwrap();
    assert_eq!(log.count("a pool is under pressure"), 1);
}

/// They travel with the caller's statements and wait when these do: with a server that is slow they would
/// fill the list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_ours_is_among_the_slow_ones() {
    let (database, db) = service(|config| {
        config.monitoring.slow_query_threshold = Some(Duration::from_nanos(1));
        config.retry.commit_markers = true;
        config.router.consistency = ReadConsistency::Process;
    })
    .await;
    database.connect().await.unwrap().batch_execute(marker::TABLE).await.unwrap();
    let renames = async |conn: &mut AsyncPgConnection| {
        diesel::update(users::table.find(1)).set(users::name.eq("hunter2")).execute(conn).await?;
        Ok::<_, Error>(())
    };
    let counts = async |conn: &mut AsyncPgConnection| users::table.count().get_result::<i64>(conn).await;
    let reads = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(counts(conn).await?);
    for _ in 0..3 {
        db.transaction(renames).await.unwrap();
        db.session().transaction(renames).await.unwrap();
        db.build_transaction().resolve(Resolve::ByTransactionId).run(renames).await.unwrap();
        db.build_transaction().serializable().read_only().run(reads).await.unwrap();
        db.for_tenant("public").unwrap().read(counts).await.unwrap();
    }
    let mut slow: Vec<String> = db.slow_queries(100).iter().map(|slow| slow.text.to_string()).collect();
    slow.retain(|text| !text.starts_with("begin"));
    slow.sort();
    let own = ["commit", "select count(*) from users", "update users set name = ? where (users.id = ?)"];
    assert_eq!(slow, own);
}
