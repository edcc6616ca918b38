//! What comes back, and what becomes of it: nobody gets a connection that another left in the middle of something.

use std::time::{Duration, Instant};

use db_testkit::{cancel_at_each_poll, until};
use diesel::sql_query;
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{backend, number, pool};

#[tokio::test]
async fn an_abandoned_transaction_frees_its_locks_and_its_connection_is_not_handed_out() {
    let (database, pool) = pool(2).await;
    let mut observer = database.connect().await.unwrap();
    observer.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();

    let mut conn = pool.get().await.unwrap();
    let abandoned = backend(&mut conn).await;
    {
        let transaction = conn.transaction(async |conn| {
            sql_query("UPDATE t SET n = 2").execute(conn).await?;
            std::future::pending::<diesel::QueryResult<()>>().await
        });
        tokio::select! {
            _ = transaction => unreachable!("it never ends"),
            () = until("the row is locked", async || {
                number(&mut observer, "SELECT count(*) AS n FROM pg_locks WHERE relation = 't'::regclass AND mode = 'RowExclusiveLock'").await > 0
            }) => {}
        }
    }
    drop(conn);
    observer.batch_execute("SET lock_timeout = '10s'; UPDATE t SET n = 3").await.unwrap();
    assert_ne!(backend(&mut pool.get().await.unwrap()).await, abandoned);
    assert_eq!(pool.status().abandoned, 1);
}

#[tokio::test]
async fn an_abandoned_statement_is_cancelled_on_the_server() {
    let (database, pool) = pool(2).await;
    let mut observer = database.connect().await.unwrap();
    let running = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND state = 'active' AND pid <> pg_backend_pid()";

    let mut conn = pool.get().await.unwrap();
    let abandoned = backend(&mut conn).await;
    tokio::select! {
        _ = sql_query("SELECT pg_sleep(600)").execute(&mut *conn) => unreachable!("it takes ten minutes"),
        () = until("the statement runs", async || number(&mut observer, running).await == 1) => {}
    }
    let dropped = Instant::now();
    drop(conn);
    assert_eq!(pool.status().abandoned, 1);
    assert_ne!(backend(&mut pool.get().await.unwrap()).await, abandoned);
    until("the statement is cancelled", async || number(&mut observer, running).await == 0).await;
    assert!(
        dropped.elapsed() < Duration::from_secs(20),
        "it was the server's statement_timeout that ended it"
    );
}

#[tokio::test]
async fn a_connection_whose_statement_failed_is_used_again() {
    let (_database, pool) = pool(1).await;
    for wrong in ["SELECT 1 / 0", "SELEC", "SELECT * FROM no_such_table"] {
        let mut conn = pool.get().await.unwrap();
        assert!(sql_query(wrong).execute(&mut *conn).await.is_err());
        assert!(conn.batch_execute(wrong).await.is_err());
        assert!(conn.transaction(async |conn| sql_query(wrong).execute(conn).await).await.is_err());
    }
    pool.get().await.unwrap();
    assert_eq!((pool.status().creates, pool.status().abandoned), (1, 0));
}

#[tokio::test]
async fn wherever_a_transaction_is_dropped_the_next_borrower_finds_no_transaction() {
    let (database, pool) = pool(2).await;
    database.connect().await.unwrap().batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let polls = cancel_at_each_poll(
        async || {
            let mut conn = pool.get().await.unwrap();
            conn.transaction(async |conn| {
                sql_query("INSERT INTO t VALUES (1)").execute(conn).await?;
                conn.transaction(async |conn| sql_query("INSERT INTO t VALUES (2)").execute(conn).await).await
            })
            .await
        },
        async |polls| {
            let mut conn = pool.get().await.unwrap();
            // A savepoint is refused outside a transaction, and only there.
            let savepoint = conn.batch_execute("SAVEPOINT probe").await;
            assert!(savepoint.is_err(), "in a transaction, dropped after {polls} polls");
        },
    )
    .await
    .unwrap();
    assert!(polls > 5, "only {polls} polls: nothing was really cancelled");
}

#[tokio::test]
async fn prepared_statements_stay_within_their_bound() {
    let (database, _) = pool(1).await;
    let url: db_core::DatabaseUrl = database.url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let config =
        db_pool::ConnectConfig { max_prepared_statements: 10.try_into().unwrap(), ..Default::default() };
    let pool = db_pool::Pool::open(db_pool::Connector::new(url, config), endpoint, crate::pool_config(1));
    let prepared = "SELECT count(*) AS n FROM pg_prepared_statements";
    for round in 0..5 {
        let mut conn = pool.get().await.unwrap();
        for column in 0..8 {
            sql_query(format!("SELECT 1 AS c{round}_{column}")).execute(&mut *conn).await.unwrap();
        }
        drop(conn);
        let mut conn = pool.get().await.unwrap();
        let kept = number(&mut conn, prepared).await;
        assert!(kept <= 19, "{kept} statements are kept after round {round}");
    }
    assert_eq!(pool.status().creates, 1, "the connection itself is kept");
}
