//! What comes back, and what becomes of it: nobody gets a connection that another left in the middle of
//! something.

use std::time::{Duration, Instant};

use db_core::DatabaseUrl;
use db_pool::{Connection, Pool, PoolConfig, Reset};
use db_testkit::{Cluster, Proxy, TestDatabase, cancel_at_each_poll, until};
use diesel::{QueryDsl, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::StreamExt;

use crate::{Number, backend, number, open, pool, pool_config, word};

#[tokio::test]
async fn an_abandoned_transaction_frees_its_locks_and_keeps_its_connection() {
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
    until("it is back", async || pool.status().salvages == 1).await;
    assert_eq!(backend(&mut pool.get().await.unwrap()).await, abandoned);
    assert_eq!((pool.status().abandoned, pool.status().creates()), (0, 1));
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
    until("it is back", async || pool.status().salvages == 1).await;
    assert_eq!(backend(&mut pool.get().await.unwrap()).await, abandoned);
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
    assert_eq!((pool.status().creates(), pool.status().abandoned), (1, 0));
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
    assert_eq!(pool.status().creates(), 1, "the connection itself is kept");
}

/// A query of one number, run on a connection of its own to see what others do.
async fn count(database: &TestDatabase, sql: &str) -> i64 {
    number(&mut database.connect().await.unwrap(), sql).await
}

/// Does something on a connection, drops it, and returns the next one, which must be the same session.
async fn after(pool: &Pool, left_by: impl AsyncFnOnce(&mut AsyncPgConnection)) -> Connection {
    let mut conn = pool.get().await.unwrap();
    let session = backend(&mut conn).await;
    left_by(&mut conn).await;
    drop(conn);
    let mut next = pool.get().await.unwrap();
    assert_eq!(backend(&mut next).await, session, "the connection was closed instead of cleaned");
    next
}

#[tokio::test]
async fn a_begin_that_was_sent_as_text_is_rolled_back() {
    let (database, pool) = pool(1).await;
    database.connect().await.unwrap().batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let mut next = after(&pool, async |conn| {
        conn.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    })
    .await;
    next.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(
        count(&database, "SELECT sum(n)::bigint AS n FROM t").await,
        2,
        "the next user's write is there"
    );
}

#[tokio::test]
async fn a_transaction_that_failed_is_rolled_back() {
    let (_database, pool) = pool(1).await;
    let mut next = after(&pool, async |conn| {
        conn.batch_execute("BEGIN").await.unwrap();
        assert!(conn.batch_execute("SELECT 1 / 0").await.is_err());
    })
    .await;
    assert_eq!(next.in_transaction(), Some(false));
    next.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn nothing_of_a_session_is_left_to_the_next_user() {
    let (database, pool) = pool(1).await;
    let settings = "SELECT current_setting('search_path') || current_setting('statement_timeout') \
                    || current_setting('TimeZone') || current_user AS word";
    let mut conn = pool.get().await.unwrap();
    let before = word(&mut conn, settings).await;
    drop(conn);
    for left in [
        "SET search_path = evil",
        "SET statement_timeout = 1234",
        "SET ROLE pg_monitor",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SELECT set_config('search_path', 'evil', false)",
        "DO $$ BEGIN SET search_path = evil; END $$",
        "/* hidden; */ SET /* here */ search_path TO evil",
        "UPDATE pg_settings SET setting = 'evil' WHERE name = 'search_path'",
        "SELECT set_config('search_path', 'evil', NOT true)",
        "SELECT U&\"set\\005fconfig\"('search_path', 'evil', false)",
    ] {
        let mut next = after(&pool, async |conn| conn.batch_execute(left).await.unwrap()).await;
        assert_eq!(word(&mut next, settings).await, before, "{left}");
    }
    for (left, sign) in [
        (
            "SELECT pg_advisory_lock(42)",
            "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        ),
        (
            "CREATE TABLE pg_temp.secret (n int)",
            "SELECT count(*) AS n FROM pg_class WHERE relname = 'secret'",
        ),
        ("SELECT 1 AS n INTO pg_temp.secret", "SELECT count(*) AS n FROM pg_class WHERE relname = 'secret'"),
        (
            "BEGIN; SET LOCAL search_path = pg_temp; CREATE TABLE secret (n int); COMMIT",
            "SELECT count(*) AS n FROM pg_class WHERE relname = 'secret'",
        ),
        (
            "CREATE FUNCTION pg_temp.secret() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SELECT count(*) AS n FROM pg_proc WHERE proname = 'secret'",
        ),
        ("CREATE TEMP TABLE secret (n int)", "SELECT count(*) AS n FROM pg_class WHERE relname = 'secret'"),
        ("LISTEN gossip", "SELECT count(*) AS n FROM pg_listening_channels()"),
        (
            "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
            "SELECT count(*) AS n FROM pg_cursors WHERE name = 'c'",
        ),
        ("PREPARE mine AS SELECT 1", "SELECT count(*) AS n FROM pg_prepared_statements WHERE name = 'mine'"),
    ] {
        let mut next = after(&pool, async |conn| conn.batch_execute(left).await.unwrap()).await;
        assert_eq!(number(&mut next, sign).await, 0, "{left}");
    }
    assert_eq!(
        count(&database, "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = 42")
            .await,
        0
    );
}

#[tokio::test]
async fn random_numbers_that_were_seeded_do_not_go_on_for_the_next_user() {
    let (_database, pool) = pool(1).await;
    let seeded = "SELECT setseed(0.25)";
    let random = "SELECT (random() * 1000000000)::bigint AS n";
    let mut drawn = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut next = after(&pool, async |conn| conn.batch_execute(seeded).await.unwrap()).await;
        drawn.insert(number(&mut next, random).await);
    }
    assert_eq!(drawn.len(), 3, "the same numbers come again");
}

#[tokio::test]
async fn what_ends_with_the_session_only_ends_it() {
    let (_database, pool) = pool(1).await;
    for lasting in [
        "LOAD 'plpgsql'",
        "SELECT pg_create_physical_replication_slot('ours_' || pg_backend_pid(), false, true)",
    ] {
        let mut conn = pool.get().await.unwrap();
        let session = backend(&mut conn).await;
        conn.batch_execute(lasting).await.unwrap();
        drop(conn);
        assert_ne!(backend(&mut pool.get().await.unwrap()).await, session, "{lasting}");
    }
}

#[tokio::test]
async fn a_connection_whose_buffers_have_grown_is_closed() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), PoolConfig { max_buffer: (64 * 1024).try_into().ok(), ..pool_config(1) });
    let mut conn = pool.get().await.unwrap();
    let first = backend(&mut conn).await;
    // Many rows are not one long message.
    sql_query("SELECT generate_series(1, 100000)::bigint AS n").load::<Number>(&mut conn).await.unwrap();
    drop(conn);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(backend(&mut conn).await, first);
    word(&mut conn, "SELECT repeat('x', 100000) AS word").await;
    drop(conn);
    let mut conn = pool.get().await.unwrap();
    let second = backend(&mut conn).await;
    assert_ne!(second, first, "a long answer");
    conn.batch_execute(&format!("SELECT '{}'", "x".repeat(100_000))).await.unwrap();
    drop(conn);
    assert_ne!(backend(&mut pool.get().await.unwrap()).await, second, "a long request");
}

/// A setting that the server changes for all sessions while one is in use: no reset brings that one back.
#[tokio::test]
async fn a_session_that_a_reset_does_not_restore_is_closed() {
    let cluster = Cluster::builder().start().await.unwrap();
    let pool = open(&cluster.primary_url(), pool_config(1));
    let mut conn = pool.get().await.unwrap();
    let session = backend(&mut conn).await;
    conn.batch_execute("ALTER SYSTEM SET intervalstyle = 'iso_8601'").await.unwrap();
    conn.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until("it is in force", async || {
        word(&mut conn, "SELECT current_setting('intervalstyle') AS word").await == "iso_8601"
    })
    .await;
    drop(conn);
    assert_ne!(backend(&mut pool.get().await.unwrap()).await, session);
    assert_eq!((pool.status().abandoned, pool.status().salvages), (1, 0));
    drop(after(&pool, async |conn| conn.batch_execute("SELECT 1").await.unwrap()).await);
}

#[tokio::test]
async fn what_ends_with_its_transaction_costs_no_reset() {
    let (_database, pool) = pool(1).await;
    for clean in [
        "SELECT 1",
        "BEGIN; SET LOCAL search_path = x; COMMIT",
        "BEGIN; SELECT set_config('app.user', 'ann', true); COMMIT",
        "SELECT pg_advisory_xact_lock(1)",
    ] {
        drop(after(&pool, async |conn| conn.batch_execute(clean).await.unwrap()).await);
    }
    assert_eq!(pool.status().salvages, 0);
}

#[tokio::test]
async fn what_no_text_tells_is_reset_where_the_pool_always_resets() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner
        .batch_execute(
            "CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
               PERFORM set_config('search_path', 'evil', false), pg_advisory_lock(42); \
               EXECUTE 'CREATE TEMP TABLE secret ()'; RETURN 1; END $$; \
             CREATE FUNCTION sneak_in() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               PERFORM public.sneak(); RETURN NEW; END $$; \
             CREATE TABLE by_default (id serial, n int DEFAULT public.sneak(), other int); \
             CREATE TABLE by_trigger (n int); \
             CREATE TRIGGER sneaks BEFORE INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION sneak_in()",
        )
        .await
        .unwrap();
    let pool = open(database.url(), PoolConfig { reset: Reset::Always, ..pool_config(1) });
    let left = "SELECT concat(current_setting('search_path'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                AND pid = pg_backend_pid()), (SELECT count(*) FROM pg_class WHERE relname = 'secret')) AS word";
    let before = word(&mut pool.get().await.unwrap(), left).await;
    for sneaky in
        ["SELECT sneak()", "INSERT INTO by_default (other) VALUES (1)", "INSERT INTO by_trigger VALUES (1)"]
    {
        let mut next = after(&pool, async |conn| conn.batch_execute(sneaky).await.unwrap()).await;
        assert_eq!(word(&mut next, left).await, before, "{sneaky}");
        assert!(next.batch_execute("SELECT lastval()").await.is_err(), "{sneaky}: a sequence is remembered");
    }
}

#[tokio::test]
async fn statements_prepared_before_a_reset_still_work_after_it() {
    let (database, pool) = pool(1).await;
    database.connect().await.unwrap().batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    for left in ["SET search_path = public", "DEALLOCATE ALL", "DISCARD ALL"] {
        for _ in 0..3 {
            let mut next = after(&pool, async |conn| {
                assert_eq!(t::table.count().get_result::<i64>(conn).await.unwrap(), 0);
                conn.batch_execute(left).await.unwrap();
            })
            .await;
            assert_eq!(t::table.count().get_result::<i64>(&mut next).await.unwrap(), 0, "{left}");
        }
    }
}

#[tokio::test]
async fn a_statement_whose_table_changed_is_prepared_anew_for_the_next_user() {
    let (database, pool) = pool(1).await;
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let all =
        || t::table.select(diesel::dsl::sql::<diesel::sql_types::Text>("to_json(t.*)::text || t.*::text"));
    let mut conn = pool.get().await.unwrap();
    all().load::<String>(&mut conn).await.unwrap();
    owner.batch_execute("ALTER TABLE t ADD COLUMN more text; INSERT INTO t VALUES (1, 'x')").await.unwrap();
    let _ = all().load::<String>(&mut conn).await;
    drop(conn);
    all().load::<String>(&mut pool.get().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn rows_that_nobody_waits_for_hold_nobody_up() {
    let (_database, pool) = pool(1).await;
    let mut conn = pool.get().await.unwrap();
    let session = backend(&mut conn).await;
    {
        let rows =
            sql_query("SELECT generate_series(1, 100000000)::bigint AS n").load_stream::<Number>(&mut conn);
        let mut rows = std::pin::pin!(rows.await.unwrap());
        assert_eq!(rows.next().await.unwrap().unwrap().n, 1);
    }
    drop(conn);
    let begun = Instant::now();
    assert_eq!(backend(&mut pool.get().await.unwrap()).await, session);
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited for the rest: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_the_connection_and_not_the_callers_time() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    let config = PoolConfig { salvage_timeout: Duration::from_millis(300), ..pool_config(1) };
    let pool = open(&proxy.through(database.url()).unwrap(), config);
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("BEGIN").await.unwrap();
    proxy.stall();
    drop(conn);
    until("it is closed", async || pool.status().abandoned == 1).await;
    proxy.heal();
    pool.get().await.unwrap().batch_execute("SELECT 1").await.unwrap();
}

diesel::table! {
    t (id) {
        id -> Integer,
    }
}
