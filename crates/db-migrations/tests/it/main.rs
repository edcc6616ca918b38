//! Migrations on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::fs;
use std::time::Duration;

use db_migrations::{MigrationError, Migrations, Migrator, MigratorConfig};
use db_testkit::TestDatabase;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

/// The advisory locks in this database: the test kit holds some in others.
const HELD: &str = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

const PEOPLE: (&str, &str) = ("1_people/up.sql", "CREATE TABLE people (id int, name text)");
const PEOPLE_DOWN: (&str, &str) = ("1_people/down.sql", "DROP TABLE people");
const INDEX: (&str, &str) = ("2_index/up.sql", "CREATE INDEX CONCURRENTLY people_name_idx ON people (name)");
const INDEX_DOWN: (&str, &str) = ("2_index/down.sql", "DROP INDEX CONCURRENTLY people_name_idx");
const INDEX_META: (&str, &str) = ("2_index/metadata.toml", "run_in_transaction = false");

fn migrator(files: &[(&str, &str)]) -> Migrator {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Migrator::new(Migrations::read(directory.path()).unwrap(), MigratorConfig::default())
}

#[tokio::test]
async fn what_is_pending_is_planned_applied_undone_and_redone() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let migrator = migrator(&[PEOPLE, PEOPLE_DOWN, INDEX, INDEX_DOWN, INDEX_META]);

    insta::assert_snapshot!(migrator.plan(&mut conn).await.unwrap(), @r"
    apply 1_people
    apply 2_index (outside a transaction)
    ");
    let mut told = Vec::new();
    let steps = migrator.apply(&mut conn, |step| told.push(step.name.clone())).await.unwrap();
    assert_eq!((steps.len(), told), (2, vec!["people".to_owned(), "index".to_owned()]));
    assert!(migrator.apply(&mut conn, |_| ()).await.unwrap().is_empty());

    assert_eq!(migrator.undo(&mut conn, 1, |_| ()).await.unwrap().len(), 1);
    insta::assert_snapshot!(migrator.status(&mut conn).await.unwrap(), @r"
    applied  1_people
    pending  2_index
    1 applied, 1 pending
    ");
    migrator.apply(&mut conn, |_| ()).await.unwrap();
    let redone: Vec<_> =
        migrator.redo(&mut conn, |_| ()).await.unwrap().iter().map(|step| step.undone).collect();
    assert_eq!(redone, [true, false]);
    assert_eq!(migrator.undo(&mut conn, 2, |_| ()).await.unwrap().len(), 2);
    assert!(matches!(migrator.undo(&mut conn, 1, |_| ()).await, Err(MigrationError::NothingApplied)));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_those_before_it_stay() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let broken = ("2_broken/up.sql", "CREATE TABLE half (); SELECT no_such_function()");
    let error = migrator(&[PEOPLE, broken]).apply(&mut conn, |_| ()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("2_broken/up.sql failed") && text.contains("no_such_function"), "{text}");
    assert_eq!(
        number(&mut conn, "SELECT count(*) AS n FROM pg_class WHERE relname IN ('people', 'half')").await,
        1
    );
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM __diesel_schema_migrations").await, 1);
    assert_eq!(number(&mut conn, HELD).await, 0);
}

#[tokio::test]
async fn concurrently_inside_a_transaction_says_what_to_write() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let error = migrator(&[PEOPLE, INDEX]).apply(&mut conn, |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("run_in_transaction = false"), "{error}");
}

#[tokio::test]
async fn a_setting_of_one_migration_reaches_neither_the_next_nor_the_callers_session() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let hides_the_ledger = "SELECT set_config('search_path', '', false); SET work_mem = '77MB'";
    let next = "CREATE TABLE setting AS SELECT (current_setting('work_mem') = '77MB')::int::bigint AS n";
    let migrator = migrator(&[("1_set/up.sql", hides_the_ledger), ("2_next/up.sql", next)]);
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), 2);
    assert_eq!(number(&mut conn, "SELECT n FROM setting").await, 0);
    assert_eq!(number(&mut conn, "SELECT (current_setting('work_mem') = '77MB')::int::bigint AS n").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_boot_together_all_succeed_and_each_migration_runs_once() {
    let database = TestDatabase::empty().await.unwrap();
    let counted = ("3_count/up.sql", "CREATE TABLE runs (); CREATE TABLE once_only ()");
    let migrator = migrator(&[PEOPLE, INDEX, INDEX_META, counted]);
    let mut boots = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (migrator, mut conn) = (migrator.clone(), database.connect().await.unwrap());
        boots.spawn(async move { migrator.apply(&mut conn, |_| ()).await.map(|steps| steps.len()) });
    }
    let mut applied = 0;
    while let Some(boot) = boots.join_next().await {
        applied += boot.unwrap().unwrap();
    }
    assert_eq!(applied, 3);
}

#[tokio::test]
async fn a_runner_that_waits_in_vain_says_so() {
    let database = TestDatabase::empty().await.unwrap();
    let (mut holder, mut conn) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let key = i64::from_be_bytes(*b"db-migra");
    holder.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await.unwrap();
    let impatient = MigratorConfig { lock_patience: Duration::from_millis(200) };
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("1_a")).unwrap();
    fs::write(directory.path().join("1_a/up.sql"), "SELECT 1").unwrap();
    let migrator = Migrator::new(Migrations::read(directory.path()).unwrap(), impatient);
    assert!(matches!(migrator.apply(&mut conn, |_| ()).await, Err(MigrationError::Locked { .. })));
}

#[tokio::test]
async fn the_reference_migrations_go_up_down_and_up() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let migrations = Migrations::read(directory.as_ref()).unwrap();
    let migrator = Migrator::new(migrations, MigratorConfig::default());
    let relations = "SELECT count(*) AS n FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let all = migrator.apply(&mut conn, |_| ()).await.unwrap().len();
    let up = number(&mut conn, relations).await;
    assert_eq!(migrator.undo(&mut conn, all, |_| ()).await.unwrap().len(), all);
    // Diesel's table and its index remain.
    assert_eq!(number(&mut conn, relations).await, 2);
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), all);
    assert_eq!(number(&mut conn, relations).await, up);
}
