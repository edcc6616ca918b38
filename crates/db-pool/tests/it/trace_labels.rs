//! The caller's span in the server's own records, for as long as its transaction lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_core::{Caller, DatabaseUrl, Observe, QueryEvent, TraceLink};
use db_pool::{ConnectConfig, Connector, Pool};
use db_testkit::{PgBouncer, PoolMode, TestDatabase, skip, until};
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{Log, number, pool_config, word};

const NAME: &str = "SELECT current_setting('application_name') AS word";

/// Names every checkout, and counts the rows of statements.
#[derive(Default)]
struct Names {
    next: AtomicU64,
    rows: AtomicU64,
}

impl Observe for Names {
    fn wants_trace_links(&self) -> bool {
        true
    }

    fn trace_link(&self, _: &Caller) -> Option<TraceLink> {
        Some(TraceLink { trace: 0xabc, span: self.next.fetch_add(1, Ordering::Relaxed) })
    }

    fn on_query(&self, event: &QueryEvent<'_>) {
        assert!(!event.statement.contains("application_name',"), "{}", event.statement);
        self.rows.fetch_add(event.rows.unwrap_or_default(), Ordering::Relaxed);
    }
}

fn named(url: &str, connect: ConnectConfig, max: usize) -> (Arc<Names>, Pool) {
    let names = Arc::new(Names::default());
    let url: DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let connect = ConnectConfig { application_name: Some("shop".to_owned()), ..connect };
    let observer: Arc<dyn Observe> = Arc::clone(&names) as _;
    let connector = Connector::new(url, connect).observed_by([observer]);
    (names, Pool::open(connector, endpoint, pool_config(max)))
}

fn label(span: u64) -> String {
    TraceLink { trace: 0xabc, span }.label("shop")
}

/// What the server says of itself outside of any transaction: a message that carries no label.
async fn now(conn: &mut AsyncPgConnection) -> QueryResult<String> {
    conn.batch_execute(
        "DO $$ BEGIN PERFORM set_config('a.b', current_setting('application_name'), false); END $$",
    )
    .await?;
    let said: crate::Word = sql_query("SELECT current_setting('a.b') AS word").get_result(conn).await?;
    conn.batch_execute("RESET a.b").await?;
    Ok(said.word)
}

async fn check(pool: &Pool) {
    let mut conn = pool.get().await.unwrap();
    let own = label(0);
    assert_eq!(now(&mut conn).await.unwrap(), "shop");
    for _ in 0..2 {
        assert_eq!(word(&mut conn, NAME).await, own, "a statement of its own");
        assert_eq!(now(&mut conn).await.unwrap(), "shop");
    }
    let bound = "SELECT $1 || current_setting('application_name') AS word";
    let said: crate::Word = sql_query(bound).bind::<Text, _>("x").get_result(&mut *conn).await.unwrap();
    assert_eq!(said.word, format!("x{own}"));

    // A transaction, a savepoint that fails in it, and one that fails as a whole.
    conn.transaction(async |conn| {
        let failed = conn.transaction(async |conn| sql_query("SELECT 1/0").execute(conn).await).await;
        assert!(failed.is_err());
        assert_eq!(word(conn, NAME).await, own);
        QueryResult::Ok(())
    })
    .await
    .unwrap();
    assert_eq!(now(&mut conn).await.unwrap(), "shop", "after a commit");
    let failed = conn.transaction(async |conn| sql_query("SELECT 1/0").execute(conn).await).await;
    assert!(failed.is_err());
    assert_eq!(now(&mut conn).await.unwrap(), "shop", "after a rollback");
    assert!(sql_query("SELECT 1/0").execute(&mut *conn).await.is_err());
    assert_eq!(now(&mut conn).await.unwrap(), "shop", "after an error");
    // What refuses to run behind another statement still runs.
    sql_query("VACUUM pg_class").execute(&mut *conn).await.unwrap();
    assert_eq!(number(&mut conn, "SELECT 7::bigint AS n").await, 7);
    drop(conn);
}

#[tokio::test]
async fn a_statement_and_a_transaction_are_named_and_nothing_stays() {
    let database = TestDatabase::empty().await.unwrap();
    let (names, pool) = named(database.url(), ConnectConfig::default(), 1);
    check(&pool).await;
    let mut conn = pool.get().await.unwrap();
    let before = AtomicU64::load(&names.rows, Ordering::Relaxed);
    assert_eq!(word(&mut conn, NAME).await, label(1), "the next caller has its own");
    assert_eq!(AtomicU64::load(&names.rows, Ordering::Relaxed) - before, 1, "the label has no row");
    let unnamed = ConnectConfig { prepared_statements: false, ..ConnectConfig::default() };
    check(&named(database.url(), unnamed, 1).1).await;
}

#[tokio::test]
async fn a_label_costs_no_round_trip_and_no_prepared_statement() {
    let database = TestDatabase::empty().await.unwrap();
    let proxy = db_testkit::Proxy::start({
        let url: DatabaseUrl = database.url().parse().unwrap();
        let at = url.hosts()[0].clone();
        (at.host().to_owned(), at.port())
    })
    .unwrap();
    proxy.write_down();
    // The proxy reads no encrypted bytes.
    let url = format!("{}?sslmode=disable", proxy.through(database.url()).unwrap());
    let mut seen = Vec::new();
    for is_named in [false, true] {
        let pool = if is_named {
            named(&url, ConnectConfig::default(), 1).1
        } else {
            crate::open(&url, pool_config(1))
        };
        let mut conn = pool.get().await.unwrap();
        let _ = proxy.take_exchanges();
        for n in 0..5 {
            conn.transaction(async |conn| {
                sql_query("SELECT $1 AS n").bind::<BigInt, _>(n).execute(conn).await
            })
            .await
            .unwrap();
            sql_query("SELECT $1 AS n").bind::<BigInt, _>(n).execute(&mut *conn).await.unwrap();
        }
        let exchanges = proxy.take_exchanges().len();
        let kept = number(&mut conn, "SELECT count(*) AS n FROM pg_prepared_statements").await;
        seen.push((exchanges, kept));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].0 >= 5 * 4, "BEGIN, the statement, COMMIT, the statement: {seen:?}");
}

#[tokio::test]
async fn one_that_is_dropped_or_cancelled_in_the_middle_leaves_no_name() {
    let database = TestDatabase::empty().await.unwrap();
    let (_, pool) = named(database.url(), ConnectConfig::default(), 1);
    let mut other = database.connect().await.unwrap();
    let backend = {
        let mut conn = pool.get().await.unwrap();
        let backend = crate::backend(&mut conn).await;
        conn.batch_execute("BEGIN").await.unwrap();
        let mut slow = std::pin::pin!(sql_query("SELECT pg_sleep(60)").execute(&mut *conn));
        let runs = format!(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = {backend} AND query LIKE '%pg_sleep%' \
             AND application_name = '{}'",
            label(0)
        );
        until("it runs under its name", async || {
            tokio::select! {
                biased;
                _ = &mut slow => panic!("it was to last"),
                count = number(&mut other, &runs) => count == 1,
            }
        })
        .await;
        backend
    };
    let mut conn = pool.get().await.unwrap();
    assert_eq!(crate::backend(&mut conn).await, backend, "it was salvaged");
    assert_eq!(now(&mut conn).await.unwrap(), "shop");
}

#[tokio::test]
async fn statements_in_a_pipeline_are_all_named_and_answered() {
    let database = TestDatabase::empty().await.unwrap();
    let (_, pool) = named(database.url(), ConnectConfig::default(), 1);
    let conn = pool.get().await.unwrap();
    let one = async |n: i64| {
        let sql = "SELECT $1 + length(current_setting('application_name')) AS n";
        let row: crate::Number = sql_query(sql).bind::<BigInt, _>(n).get_result(&mut &*conn).await.unwrap();
        row.n - n
    };
    let length = label(0).len() as i64;
    for _ in 0..20 {
        let (a, b, c) = tokio::join!(one(1), one(100), one(1_000));
        assert_eq!([a, b, c], [length; 3]);
    }
}

#[tokio::test]
async fn behind_a_pooler_a_label_ends_with_its_transaction_too() {
    let database = TestDatabase::empty().await.unwrap();
    let settings = [("default_pool_size", "1")];
    let started = PgBouncer::start(database.url(), PoolMode::Transaction, &settings).await;
    let Some(pooler) = skip::without(started) else { return };
    let unnamed = ConnectConfig { prepared_statements: false, ..ConnectConfig::default() };
    let (_, pool) = named(pooler.url(), unnamed, 2);
    let (mut one, mut two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    for _ in 0..5 {
        assert_eq!(word(&mut one, NAME).await, label(0));
        one.transaction(async |conn| {
            assert_eq!(word(conn, NAME).await, label(0));
            QueryResult::Ok(())
        })
        .await
        .unwrap();
        assert_eq!(word(&mut two, NAME).await, label(1));
        // Both share one session of the server.
        one.batch_execute(
            "DO $$ BEGIN IF current_setting('application_name') LIKE '%#%' THEN RAISE 'left'; END IF; END $$",
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_connection_is_logged_when_it_opens_and_when_it_closes_and_why() {
    let log = Log::default();
    let _heard = log.listen_to(tracing::Level::TRACE);
    let (_database, pool) = crate::pool(1).await;
    drop(pool.get().await.unwrap());
    pool.evict_all();
    drop(pool.get().await.unwrap());
    let _ = pool.shutdown(std::time::Duration::from_secs(5)).await;
    assert_eq!(log.lines_with("a connection is open").len(), 2);
    assert_eq!(log.lines_with("a connection is checked out").len(), 2);
    let closed = log.lines_with("a connection is closed");
    assert!(closed[0].contains("all of its age were given up"), "{closed:?}");
    assert!(closed.len() == 2 && closed[1].contains("the pool is closed"), "{closed:?}");
}
