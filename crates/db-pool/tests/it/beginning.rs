//! A transaction whose BEGIN goes out with its first request: one round trip less, and nothing ever runs
//! outside.

use db_core::{Acquire, Opened, Opening, TransactionStatus};
use db_pool::Pool;
use db_testkit::{Proxy, TestDatabase, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{number, open, pool, pool_config};

const BEGIN: &str = "BEGIN";
/// Refused by every server: two levels.
const REFUSED: &str = "BEGIN ISOLATION LEVEL nonsense";

async fn insert(conn: &mut AsyncPgConnection) -> diesel::QueryResult<usize> {
    sql_query("INSERT INTO notes DEFAULT VALUES").execute(conn).await
}

async fn with_notes(max: usize) -> (TestDatabase, Pool) {
    let (database, pool) = pool(max).await;
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE notes (id serial)").await.unwrap();
    (database, pool)
}

async fn notes(database: &TestDatabase) -> i64 {
    number(&mut database.connect().await.unwrap(), "SELECT count(*) AS n FROM notes").await
}

#[tokio::test]
async fn begin_goes_out_with_the_first_request_and_its_question_is_answered() {
    let (database, pool) = with_notes(1).await;
    let mut conn = pool.get().await.unwrap();
    let opening = Opening::new(BEGIN).then("SET LOCAL work_mem = '7MB'").asking("SELECT 7, NULL, 'x'");
    assert!(pool.begin_with(&mut conn, &opening));
    assert_eq!((pool.facts(&conn).begin, conn.in_transaction()), (Opened::Unsent, Some(true)));
    let setting = "SELECT replace(current_setting('work_mem'), 'MB', '')::bigint AS n";
    assert_eq!(number(&mut conn, setting).await, 7);
    let facts = pool.facts(&conn);
    assert_eq!((facts.begin, facts.status), (Opened::Begun, Some(TransactionStatus::Open)));
    let row = facts.opened.unwrap();
    assert_eq!(row.iter().map(Option::as_deref).collect::<Vec<_>>(), [Some("7"), None, Some("x")]);
    insert(&mut conn).await.unwrap();
    assert_eq!(notes(&database).await, 0, "it is in the transaction");
    conn.batch_execute("COMMIT").await.unwrap();
    assert_eq!((notes(&database).await, number(&mut conn, setting).await), (1, 4));
    assert!(!pool.begin_with(&mut conn, &opening) || pool.facts(&conn).begin == Opened::Unsent);
}

#[tokio::test]
async fn where_a_transaction_is_open_its_begin_is_the_callers_own() {
    let (_database, pool) = with_notes(1).await;
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("BEGIN").await.unwrap();
    assert!(!pool.begin_with(&mut conn, &Opening::new(BEGIN)));
}

#[tokio::test]
async fn what_is_asked_behind_a_refused_begin_is_refused_until_a_rollback() {
    let (database, pool) = with_notes(1).await;
    for simple in [false, true] {
        let mut conn = pool.get().await.unwrap();
        assert!(pool.begin_with(&mut conn, &Opening::new(REFUSED)));
        // Both are on their way before BEGIN is answered.
        let (mut first, mut second) = (&*conn, &*conn);
        let (one, other) = match simple {
            false => {
                let one = sql_query("INSERT INTO notes DEFAULT VALUES").execute(&mut first);
                let other = sql_query("INSERT INTO notes DEFAULT VALUES").execute(&mut second);
                let (one, other) = tokio::join!(biased; one, other);
                (one.map(drop), other.map(drop))
            }
            true => {
                let one = first.batch_execute("INSERT INTO notes DEFAULT VALUES");
                tokio::join!(biased; one, second.batch_execute("INSERT INTO notes DEFAULT VALUES"))
            }
        };
        assert!(one.unwrap_err().to_string().contains("nonsense"), "the first hears why");
        assert!(other.unwrap_err().to_string().contains("current transaction is aborted"));
        assert!(insert(&mut conn).await.unwrap_err().to_string().contains("current transaction is aborted"));
        let facts = pool.facts(&conn);
        assert_eq!((facts.begin, facts.status), (Opened::Refused, Some(TransactionStatus::Failed)));
        conn.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(pool.facts(&conn).status, Some(TransactionStatus::Idle));
        assert_eq!(notes(&database).await, 0, "nothing ran outside");
        insert(&mut conn).await.unwrap();
        conn.batch_execute("TRUNCATE notes").await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_comes_back_before_begin_was_sent_is_as_new() {
    let (database, pool) = with_notes(1).await;
    for refused in [false, true] {
        let mut conn = pool.get().await.unwrap();
        let id = number(&mut conn, "SELECT pg_backend_pid()::bigint AS n").await;
        assert!(pool.begin_with(&mut conn, &Opening::new(if refused { REFUSED } else { BEGIN })));
        if refused {
            insert(&mut conn).await.unwrap_err();
        }
        drop(conn);
        let mut conn = pool.get().await.unwrap();
        assert_eq!(number(&mut conn, "SELECT pg_backend_pid()::bigint AS n").await, id, "it was kept");
        insert(&mut conn).await.unwrap();
        drop(conn);
        assert_eq!(
            notes(&database).await,
            1 + i64::from(refused),
            "no transaction is around the next one's statement"
        );
    }
}

/// The statement is queued, and its caller goes before it is written: it must not run alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_was_queued_when_its_caller_went_runs_in_the_transaction() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE notes (id serial)").await.unwrap();
    let address = database.url().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(address).unwrap();
    let url = format!("{}?sslmode=disable", proxy.through(database.url()).unwrap());
    let pool = open(&url, pool_config(1));
    for _ in 0..3 {
        let mut conn = pool.get().await.unwrap();
        insert(&mut conn).await.unwrap();
        assert!(pool.begin_with(&mut conn, &Opening::new(BEGIN)));
        proxy.stall();
        {
            let mut inserting = Box::pin(insert(&mut conn));
            assert!(futures_util::poll!(&mut inserting).is_pending());
        }
        drop(conn);
        proxy.heal();
        let mut conn = pool.get().await.unwrap();
        assert_eq!(pool.facts(&conn).status, Some(TransactionStatus::Idle));
        insert(&mut conn).await.unwrap();
        conn.batch_execute("TRUNCATE notes").await.unwrap();
        drop(conn);
    }
    until("the connection is back", async || pool.status().idle == 1).await;
    assert_eq!(notes(&database).await, 0);
}

#[tokio::test]
async fn a_first_request_of_megabytes_is_in_the_transaction() {
    let (database, pool) = with_notes(1).await;
    let mut conn = pool.get().await.unwrap();
    assert!(pool.begin_with(&mut conn, &Opening::new(BEGIN).asking("SELECT 1")));
    let long = sql_query("INSERT INTO notes SELECT length($1) RETURNING id::bigint AS n");
    let long = long.bind::<diesel::sql_types::Text, _>("x".repeat(5_000_000));
    assert_eq!(long.get_result::<crate::Number>(&mut conn).await.unwrap().n, 5_000_000);
    assert_eq!(pool.facts(&conn).begin, Opened::Begun);
    conn.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(notes(&database).await, 0);
}
