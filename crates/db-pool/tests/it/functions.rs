//! Which functions a statement may call without costing a reset.

use std::collections::BTreeSet;

use db_pool::{PoolConfig, Reset};
use db_testkit::TestDatabase;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::{Log, backend, number, open, pool_config, word};

const CATALOG: &str = include_str!("../../src/wire/catalog/catalog.txt");
const QUERY: &str = include_str!("../../src/wire/catalog/catalog.sql");

/// `work_mem` is none of the settings whose changes a server of any version tells by itself.
const MADE: &str = "
    CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('work_mem', '5MB', false), pg_advisory_lock(42); RETURN 1; END $$;
    CREATE FUNCTION prepares() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'PREPARE mine AS SELECT 1'; RETURN 1; END $$;
    CREATE SCHEMA app; CREATE FUNCTION app.total_of(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
    CREATE VIEW sneaks AS SELECT sneak()";

const LEFT: &str = "SELECT concat(current_setting('work_mem'), (SELECT count(*) FROM pg_locks \
                    WHERE locktype = 'advisory' AND pid = pg_backend_pid())) AS word";

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// `cargo run -p db-pool --example catalog` writes the catalog anew.
#[tokio::test]
async fn the_catalog_is_that_of_the_server_at_hand() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let version =
        number(&mut conn, "SELECT current_setting('server_version_num')::bigint / 10000 AS n").await;
    let version = version.to_string();
    let lines: Vec<Line> = sql_query(QUERY).load(&mut conn).await.unwrap();
    let told: BTreeSet<String> = lines.into_iter().map(|Line { line }| line).collect();
    let has = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let name = [parts.next()?, parts.next()?].join(" ");
        parts.next().is_none_or(|list| list.split(',').any(|known| known == version)).then_some(name)
    };
    let known: BTreeSet<String> = CATALOG.lines().filter_map(has).collect();
    assert_eq!(known, told, "of PostgreSQL {version}");
}

#[tokio::test]
async fn a_function_of_the_services_own_costs_a_reset_and_is_named_once() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(MADE).await.unwrap();
    let pool = open(database.url(), pool_config(1));
    let before = word(&mut pool.get().await.unwrap(), LEFT).await;
    let log = Log::default();
    let _listening = log.listen();
    for sneaky in ["SELECT sneak()", "SELECT 1 WHERE public . \"sneak\" () = 1", "SELECT sneak() /* again */"]
    {
        let mut conn = pool.get().await.unwrap();
        let session = backend(&mut conn).await;
        sql_query(sneaky).execute(&mut conn).await.unwrap();
        drop(conn);
        let mut next = pool.get().await.unwrap();
        assert_eq!(
            (word(&mut next, LEFT).await, backend(&mut next).await),
            (before.clone(), session),
            "{sneaky}"
        );
    }
    assert_eq!(pool.status().salvages, 3);
    let named = log.lines_with("DB_POOL_HARMLESS_FUNCTIONS");
    assert_eq!(named.len(), 2, "as it was called: {named:?}");
    assert!(named[0].contains("whenever sneak was called"), "{named:?}");
}

#[tokio::test]
async fn a_function_that_is_declared_harmless_costs_none() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(MADE).await.unwrap();
    database.connect().await.unwrap().batch_execute("CREATE SEQUENCE ids").await.unwrap();
    let harmless = "app.*, nextval".parse().unwrap();
    let pool = open(database.url(), PoolConfig { harmless, ..pool_config(1) });
    for clean in ["SELECT app.total_of(1)", "SELECT nextval('ids')", "SELECT lower('X'), now()"] {
        pool.get().await.unwrap().batch_execute(clean).await.unwrap();
    }
    assert_eq!(pool.status().salvages, 0);
    pool.get().await.unwrap().batch_execute("SELECT prepares()").await.unwrap();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.status().salvages + pool.status().abandoned, 1, "what was not declared");
}

#[tokio::test]
async fn a_statement_that_a_function_prepared_is_left_to_nobody() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(MADE).await.unwrap();
    for reset in [Reset::WhenSeen, Reset::Always] {
        let pool = open(database.url(), PoolConfig { reset, ..pool_config(1) });
        pool.get().await.unwrap().batch_execute("SELECT prepares()").await.unwrap();
        let mut next = pool.get().await.unwrap();
        let left = "SELECT count(*) AS n FROM pg_prepared_statements WHERE name = 'mine'";
        assert_eq!(number(&mut next, left).await, 0, "{reset:?}");
    }
}

#[tokio::test]
async fn what_a_view_calls_is_seen_only_where_the_pool_always_resets() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(MADE).await.unwrap();
    for (reset, seen) in [(Reset::WhenSeen, false), (Reset::Always, true)] {
        let pool = open(database.url(), PoolConfig { reset, ..pool_config(1) });
        let before = word(&mut pool.get().await.unwrap(), LEFT).await;
        pool.get().await.unwrap().batch_execute("SELECT * FROM sneaks").await.unwrap();
        assert_eq!(
            word(&mut pool.get().await.unwrap(), LEFT).await == before,
            seen,
            "as the README says: {reset:?}"
        );
    }
}
