//! What observers hear of statements and links.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_core::{BindHashes, Checkout, DatabaseUrl, LinkEvent, Observe, QueryEvent, Role, SqlState, WorkScope};
use db_pool::{ConnectConfig, Connector, Pool};
use db_testkit::{Cluster, TestDatabase, until};
use diesel::sql_types::Integer;
use diesel::{IntoSql, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::FutureExt;

use crate::{Number, pool_config};

/// A statement as it was reported.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    statement: String,
    checkout: Option<Checkout>,
    line: Option<u32>,
    scope: Option<String>,
    rows: Option<u64>,
    bytes: Option<u64>,
    elapsed: Duration,
    first_row: Option<Duration>,
    failed: bool,
    sqlstate: Option<SqlState>,
    cancelled: bool,
}

/// Keeps what it hears.
#[derive(Default)]
struct Ear {
    statements: Mutex<Vec<Seen>>,
    links: Mutex<Vec<String>>,
}

impl Observe for Ear {
    fn on_query(&self, event: &QueryEvent<'_>) {
        self.statements.lock().unwrap().push(Seen {
            statement: event.statement.to_owned(),
            checkout: event.caller.map(|caller| caller.checkout),
            line: event.caller.map(|caller| caller.site.line()),
            scope: event.caller.and_then(|caller| Some(caller.scope.as_ref()?.name().to_owned())),
            rows: event.rows,
            bytes: event.bytes,
            elapsed: event.elapsed,
            first_row: event.first_row,
            failed: event.failed,
            sqlstate: event.sqlstate,
            cancelled: event.cancelled,
        });
    }

    fn on_link(&self, event: &LinkEvent<'_>) {
        self.links.lock().unwrap().push(match event {
            LinkEvent::Opened { .. } => "opened".to_owned(),
            LinkEvent::Lost { .. } => "lost".to_owned(),
            LinkEvent::RoleChanged { role: Role::Primary, .. } => "promoted".to_owned(),
            other => format!("{other:?}"),
        });
    }
}

impl Ear {
    fn statements(&self, like: &str) -> Vec<Seen> {
        self.statements.lock().unwrap().iter().filter(|seen| seen.statement.contains(like)).cloned().collect()
    }

    fn heard(&self, what: &str) -> bool {
        self.links.lock().unwrap().iter().any(|link| link == what)
    }
}

fn listen(url: &str, config: ConnectConfig) -> (Arc<Ear>, Pool) {
    let ear = Arc::new(Ear::default());
    let url: DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let observer: Arc<dyn Observe> = Arc::clone(&ear) as Arc<dyn Observe>;
    let connector = Connector::new(url, config).observed_by([observer]);
    (ear, Pool::open(connector, endpoint, pool_config(2)))
}

#[tokio::test]
async fn a_statement_is_reported_with_what_came_back_and_who_sent_it() {
    let database = TestDatabase::empty().await.unwrap();
    let (ear, pool) = listen(database.url(), ConnectConfig::default());
    let mut one = pool.get().await.unwrap();
    let (line, got) = (line!(), WorkScope::named("GET /").run(pool.get()));
    let mut two = got.await.unwrap();
    let many = "SELECT n::bigint FROM generate_series(1, 5000) n";
    assert_eq!(sql_query(many).get_results::<Number>(&mut one).await.unwrap().len(), 5_000);
    for _ in 0..2 {
        diesel::select(42.into_sql::<Integer>()).get_result::<i32>(&mut two).await.unwrap();
    }
    one.batch_execute("SELECT 1; SELECT 2").await.unwrap();

    let [rows] = &ear.statements(many)[..] else { panic!("{:?}", ear.statements("")) };
    assert_eq!((rows.rows, rows.failed, rows.cancelled), (Some(5_000), false, false));
    // A row has a header of 7 bytes, a length of 4, and a bigint of 8.
    assert_eq!(rows.bytes, Some(5_000 * 19));
    assert!(rows.first_row.unwrap() <= rows.elapsed);
    let prepared = ear.statements("SELECT $1");
    assert_eq!(prepared.len(), 2, "the preparation is no statement: {prepared:?}");
    assert_ne!(prepared[0].checkout, rows.checkout);
    assert_eq!((prepared[0].checkout, prepared[1].rows), (prepared[1].checkout, Some(1)));
    assert_eq!((prepared[0].line, prepared[0].scope.as_deref()), (Some(line), Some("GET /")));
    assert_eq!(rows.scope, None);
    assert_eq!(ear.statements("SELECT 1; SELECT 2")[0].rows, Some(2));
}

#[tokio::test]
async fn a_statement_that_failed_or_was_given_up_is_reported_as_that() {
    let database = TestDatabase::empty().await.unwrap();
    let (ear, pool) = listen(database.url(), ConnectConfig::default());
    let mut conn = pool.get().await.unwrap();
    let own = "DO $$ BEGIN RAISE 'no' USING ERRCODE = 'AB123'; END $$";
    sql_query(own).execute(&mut conn).await.unwrap_err();
    sql_query("SELECT * FROM nothing").execute(&mut conn).await.unwrap_err();
    for (like, code) in [("AB123", "AB123"), ("nothing", "42P01")] {
        // The error is there before the server is ready for the next statement, which ends this one.
        until("it is reported", async || !ear.statements(like).is_empty()).await;
        assert_eq!(ear.statements(like)[0].sqlstate.unwrap().to_string(), code);
    }

    let slow = "SELECT pg_sleep(600)";
    let given_up = tokio::time::timeout(Duration::from_millis(50), sql_query(slow).execute(&mut conn));
    given_up.await.unwrap_err();
    drop(conn);
    until("it is reported", async || !ear.statements(slow).is_empty()).await;
    let seen = &ear.statements(slow)[0];
    assert!(seen.failed && seen.cancelled && seen.checkout.is_some(), "{seen:?}");
}

/// On one thread: nothing is written before the test waits.
#[tokio::test]
async fn a_statement_that_is_written_after_its_caller_left_is_still_his() {
    let database = TestDatabase::empty().await.unwrap();
    let (ear, pool) = listen(database.url(), ConnectConfig::default());
    let mut conn = pool.get().await.unwrap();
    let slow = "SELECT pg_sleep(600)";
    assert!(conn.batch_execute(slow).now_or_never().is_none());
    assert!(conn.batch_execute("BEGIN").now_or_never().is_none());
    assert!(ear.statements(slow).is_empty());
    drop(conn);
    until("it was cleaned", async || pool.status().salvages == 1).await;
    let [seen] = &ear.statements(slow)[..] else { panic!("{:?}", ear.statements("")) };
    assert!(seen.cancelled && seen.checkout.is_some(), "{seen:?}");
    let [rollback] = &ear.statements("ROLLBACK")[..] else { panic!("{:?}", ear.statements("")) };
    assert_eq!(rollback.checkout, None, "the pool's own");
}

#[tokio::test]
async fn without_the_tap_statements_are_reported_as_far_as_diesel_sees_them() {
    let database = TestDatabase::empty().await.unwrap();
    let config = ConnectConfig { wire_tap: false, ..ConnectConfig::default() };
    let (ear, pool) = listen(database.url(), config);
    let mut conn = pool.get().await.unwrap();
    sql_query("SELECT 1 AS one").execute(&mut conn).await.unwrap();
    let [seen] = &ear.statements("AS one")[..] else { panic!("{:?}", ear.statements("")) };
    assert_eq!((seen.rows, seen.sqlstate, seen.failed), (None, None, false));
    assert_eq!(conn.in_transaction(), None);
    // What it cannot clean it closes.
    conn.batch_execute("SELECT 1").await.unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(20), conn.batch_execute("SELECT pg_sleep(600)")).await;
    drop(conn);
    assert_eq!((pool.status().abandoned, pool.status().open), (1, 0));
}

#[tokio::test]
async fn a_link_that_is_lost_and_a_server_that_is_promoted_are_reported() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let (ear, pool) = listen(&cluster.standby_urls()[0], ConnectConfig::default());
    let (mut conn, mut other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert!(ear.heard("opened"));
    assert_eq!(conn.role(), Some(Role::Standby));
    cluster.promote(1).await.unwrap();
    until("the server says so", async || {
        conn.batch_execute("SELECT 1").await.unwrap();
        ear.heard("promoted")
    })
    .await;
    assert_eq!(conn.role(), Some(Role::Primary));
    conn.batch_execute("CREATE TABLE written_after_promotion ()").await.unwrap();
    assert!(!ear.heard("lost"));
    other.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
    until("the loss is reported", async || ear.heard("lost")).await;
}

#[derive(Default)]
struct Hashes(Mutex<Vec<Option<BindHashes>>>);

impl Observe for Hashes {
    fn wants_binds(&self) -> bool {
        true
    }

    fn on_query(&self, event: &QueryEvent<'_>) {
        if event.statement.starts_with("SELECT $1") {
            self.0.lock().unwrap().push(event.binds);
        }
    }
}

#[tokio::test]
async fn who_wants_hashes_of_parameters_can_tell_equal_values_from_others() {
    let database = TestDatabase::empty().await.unwrap();
    let heard = Arc::new(Hashes::default());
    let url: DatabaseUrl = database.url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let observer: Arc<dyn Observe> = Arc::clone(&heard) as Arc<dyn Observe>;
    let connector = Connector::new(url, ConnectConfig::default()).observed_by([observer]);
    let pool = Pool::open(connector, endpoint, pool_config(2));
    let mut conn = pool.get().await.unwrap();
    for value in [42, 42, 43] {
        diesel::select(value.into_sql::<Integer>()).get_result::<i32>(&mut conn).await.unwrap();
    }
    let heard = heard.0.lock().unwrap().clone();
    let [Some(one), Some(same), Some(other)] = heard[..] else { panic!("{heard:?}") };
    assert_eq!((one, one.count()), (same, 1));
    assert_ne!(one, other);
}
