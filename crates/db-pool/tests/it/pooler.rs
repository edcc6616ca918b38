//! Behind PgBouncer in transaction mode, which leads each transaction to whichever server connection is free.

use db_core::{Acquire, DatabaseUrl};
use db_pool::{ConnectConfig, Connector, Pool};
use db_testkit::{PgBouncer, PoolMode, TestDatabase, skip};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::stale::{Mood, people};
use crate::{Number, number, pool_config};

const CLIENTS: i64 = 8;
const ROUNDS: i64 = 60;

/// PgBouncer before 1.21, or a newer one that does not follow prepared statements.
async fn pooler(database: &TestDatabase, servers: &str) -> Option<PgBouncer> {
    let settings = [("default_pool_size", servers), ("max_prepared_statements", "0")];
    let started = PgBouncer::start(database.url(), PoolMode::Transaction, &settings).await;
    // Older ones do not know the setting.
    skip::without(match started {
        Err(_) => PgBouncer::start(database.url(), PoolMode::Transaction, &settings[..1]).await,
        started => started,
    })
}

fn through(pooler: &PgBouncer, connect: ConnectConfig) -> Pool {
    let url: DatabaseUrl = pooler.url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    Pool::open(Connector::new(url, connect), endpoint, pool_config(CLIENTS as usize))
}

fn without_names() -> ConnectConfig {
    ConnectConfig { prepared_statements: false, ..ConnectConfig::default() }
}

/// Each client's statements are its own, so that one which runs another's is found out by the answer.
async fn work(conn: &mut AsyncPgConnection, client: i64, round: i64) -> QueryResult<()> {
    let own = format!("SELECT $1 * 1000 + {client} AS n");
    let said: Number = diesel::sql_query(own).bind::<BigInt, _>(round).get_result(conn).await?;
    assert_eq!(said.n, round * 1_000 + client);
    let moods = people::table.filter(people::mood.eq(Mood)).select((people::id, people::mood));
    assert_eq!(moods.load::<(i32, Mood)>(conn).await?, [(1, Mood)]);
    let wrong =
        diesel::sql_query(format!("SELECT {client} / $1 AS n")).bind::<BigInt, _>(0).execute(conn).await;
    assert!(wrong.unwrap_err().to_string().contains("division by zero"));
    conn.transaction(async |conn| {
        for n in [1_i64, 2] {
            let sum = format!("SELECT $1 + {client} AS n");
            let said: Number = diesel::sql_query(sum).bind::<BigInt, _>(n).get_result(conn).await?;
            assert_eq!(said.n, n + client);
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_names_no_statement_is_lost_or_mistaken() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(crate::stale::MADE).await.unwrap();
    let Some(pooler) = pooler(&database, "2").await else { return };
    let pool = through(&pooler, without_names());
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let pool = pool.clone();
        clients.spawn(async move {
            for round in 0..ROUNDS {
                work(&mut pool.get().await.unwrap(), client, round).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    let held = "SELECT count(DISTINCT pid) AS n FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name <> 'psql'";
    let servers = number(&mut database.connect().await.unwrap(), held).await;
    assert!(servers <= 3, "{servers} server connections: each client had its own");
}

#[tokio::test]
async fn behind_a_pooler_nobody_knows_which_server_a_connection_leads_to() {
    let database = TestDatabase::empty().await.unwrap();
    let Some(pooler) = pooler(&database, "2").await else { return };
    let pool = through(&pooler, without_names());
    assert_eq!(pool.facts(&pool.get().await.unwrap()).server, None);
    let url: DatabaseUrl = database.url().parse().unwrap();
    for wire_tap in [true, false] {
        let connector = Connector::new(url.clone(), ConnectConfig { wire_tap, ..ConnectConfig::default() });
        let pool = Pool::open(connector, url.hosts()[0].clone(), pool_config(1));
        let server = pool.facts(&pool.get().await.unwrap()).server;
        assert!(server.is_some_and(|server| server.started.is_some()), "wire_tap: {wire_tap}");
    }
}

#[tokio::test]
async fn without_names_nothing_stays_prepared_and_changes_are_seen_at_once() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let pool = Pool::open(Connector::new(url, without_names()), endpoint, pool_config(1));
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n bigint); INSERT INTO t VALUES (7)").await.unwrap();
    for change in
        ["SELECT 1", "ALTER TABLE t ADD m text", "ALTER TABLE t DROP n; ALTER TABLE t ADD n bigint DEFAULT 7"]
    {
        conn.batch_execute(change).await.unwrap();
        assert_eq!(number(&mut conn, "SELECT * FROM t").await, 7, "{change}");
    }
    conn.batch_execute("DISCARD ALL").await.unwrap();
    drop(conn);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(number(&mut conn, "SELECT * FROM t").await, 7);
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM pg_prepared_statements").await, 0);
    assert!(pool.statements().is_empty());
}
