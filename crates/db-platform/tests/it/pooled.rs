//! Behind PgBouncer in transaction mode: writes of one statement, and tenants with a schema each.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use db_platform::retry::marker;
use db_platform::{Config, Db, Error, batch};
use db_testkit::{PgBouncer, PoolMode, TestDatabase, skip};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use tokio::task::JoinSet;

use crate::{Number, Word};

diesel::table! { notes (id) { id -> BigInt, whose -> Text, } }

const SCHEMAS: [&str; 3] = ["a", "b", "public"];
const CLIENTS: usize = 6;
const ROUNDS: usize = 40;

/// Each schema has its own notes, and one note that says whose they are.
async fn schemas(owner: &mut AsyncPgConnection) {
    for schema in SCHEMAS {
        let make = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE {schema}.notes (id int8, whose text); \
             INSERT INTO {schema}.notes VALUES (0, '{schema}')"
        );
        owner.batch_execute(&make).await.unwrap();
    }
}

/// A handle behind a PgBouncer with two connections to the server, for more clients than that.
async fn pooled(database: &TestDatabase, configure: impl FnOnce(&mut Config)) -> Option<(PgBouncer, Db)> {
    let settings = [("default_pool_size", "2"), ("max_prepared_statements", "0")];
    let started = PgBouncer::start(database.url(), PoolMode::Transaction, &settings).await;
    // Before 1.21 it does not know the setting, and follows no prepared statements either.
    let pooler = skip::without(match started {
        Err(_) => PgBouncer::start(database.url(), PoolMode::Transaction, &settings[..1]).await,
        started => started,
    })?;
    let mut config = Config::new(db_platform::Environment::Test, pooler.url().parse().unwrap());
    config.cache = None;
    config.router.pooled = true;
    config.connect.prepared_statements = false;
    config.pool.max = CLIENTS.try_into().unwrap();
    config.read_pool.max = CLIENTS.try_into().unwrap();
    configure(&mut config);
    Some((pooler, Db::connect(config).await.unwrap()))
}

async fn whose(conn: &mut AsyncPgConnection) -> QueryResult<String> {
    notes::table.filter(notes::id.eq(0)).select(notes::whose).first(conn).await
}

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

/// One call of each verb; all of them must find the notes of `schema`.
async fn by_all_verbs(db: &Db, schema: &str, id: i64) {
    let note = (notes::id.eq(id), notes::whose.eq(schema));
    assert_eq!(db.write(diesel::insert_into(notes::table).values(note)).await.unwrap(), 1);
    let update = diesel::update(notes::table.filter(notes::id.eq(id))).set(notes::id.eq(notes::id));
    let found: Vec<String> = db.write_returning(update.returning(notes::whose)).await.unwrap();
    assert_eq!(found, [schema]);
    assert_eq!(db.read(whose).await.unwrap(), schema);
    let work = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(whose(conn).await?);
    assert_eq!(db.transaction(work).await.unwrap(), schema);
    let one = || batch::row::<String>(notes::table.filter(notes::id.eq(0)).select(notes::whose));
    assert_eq!(db.batch((one(), one())).await.unwrap(), (schema.to_owned(), schema.to_owned()));
    let rows = db.stream::<String>(notes::table.filter(notes::id.eq(0)).select(notes::whose), 10);
    assert_eq!(rows.try_collect::<Vec<_>>().await.unwrap(), [schema]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler_each_tenant_finds_and_writes_its_own() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    schemas(&mut owner).await;
    let Some((_pooler, db)) = pooled(&database, |_| {}).await else { return };
    let ids = Arc::new(AtomicI64::new(1));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let schema = SCHEMAS[client % SCHEMAS.len()];
        let db = if schema == "public" { db.clone() } else { db.for_tenant(schema).unwrap() };
        let ids = Arc::clone(&ids);
        clients.spawn(async move {
            for round in 0..ROUNDS {
                by_all_verbs(&db, schema, ids.fetch_add(1, Ordering::Relaxed)).await;
                // A caller that goes away leaves its path to nobody.
                let slow =
                    async |conn: &mut AsyncPgConnection| conn.batch_execute("SELECT pg_sleep(5)").await;
                let limit = Duration::from_millis(if round % 8 == 0 { 20 } else { 0 });
                let _ = tokio::time::timeout(limit, db.read(slow)).await;
            }
        });
    }
    clients.join_all().await;
    for schema in SCHEMAS {
        let own = number(&mut owner, &format!("SELECT count(*) AS n FROM {schema}.notes WHERE id > 0")).await;
        assert_eq!(own, i64::try_from(ROUNDS * CLIENTS / SCHEMAS.len()).unwrap(), "{schema}");
        let others = format!("SELECT count(*) AS n FROM {schema}.notes WHERE whose <> '{schema}'");
        assert_eq!(number(&mut owner, &others).await, 0, "{schema}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler_every_write_is_applied_once() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    schemas(&mut owner).await;
    owner.batch_execute(marker::TABLE).await.unwrap();
    // Refused where it meets another, and run again then.
    owner.batch_execute("CREATE UNIQUE INDEX ON public.notes (id)").await.unwrap();
    for markers in [false, true] {
        let configure = |config: &mut Config| config.retry.commit_markers = markers;
        let Some((_pooler, db)) = pooled(&database, configure).await else { return };
        let begin = number(&mut owner, "SELECT max(id) + 1 AS n FROM notes").await;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let db = db.clone();
            clients.spawn(async move {
                for round in 0..ROUNDS {
                    let id = begin + i64::try_from(client * ROUNDS + round).unwrap();
                    let note = (notes::id.eq(id), notes::whose.eq("public"));
                    db.write(diesel::insert_into(notes::table).values(note)).await.unwrap();
                    let twice = diesel::insert_into(notes::table).values(note);
                    let error = db.write(twice).await.unwrap_err();
                    assert!(matches!(error, Error::UniqueViolation(_)), "{error}");
                    let again = diesel::insert_into(notes::table).values(note).on_conflict_do_nothing();
                    assert_eq!(db.build_write().idempotent().run(again).await.unwrap(), 0);
                }
            });
        }
        clients.join_all().await;
        let all = sql_query("SELECT count(*) AS n FROM notes WHERE id >= $1").bind::<BigInt, _>(begin);
        let all = all.get_result::<Number>(&mut owner).await.unwrap().n;
        assert_eq!(all, i64::try_from(CLIENTS * ROUNDS).unwrap(), "markers: {markers}");
    }
    let marks = number(&mut owner, "SELECT count(*) AS n FROM db_platform_commits").await;
    assert!(marks >= i64::try_from(CLIENTS * ROUNDS).unwrap(), "each write was marked: {marks}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler_no_connection_of_ones_own_has_a_path() {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    schemas(&mut owner).await;
    let Some((_pooler, db)) = pooled(&database, |_| {}).await else { return };
    let refused = db.for_tenant("a").unwrap().primary().await.unwrap_err();
    assert!(refused.to_string().contains("pooler"), "{refused}");
    let path = async |conn: &mut AsyncPgConnection| {
        let path = sql_query("SELECT current_setting('search_path') AS word");
        path.get_result::<Word>(conn).await
    };
    let usual = db.read(path).await.unwrap().word;
    assert_eq!(db.for_tenant("a").unwrap().read(path).await.unwrap().word, "a");
    assert_eq!(db.read(path).await.unwrap().word, usual);
}
