//! Applying, undoing and redoing.

use db_migrations::{MigrationError, Migrations, Migrator, MigratorConfig};
use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use crate::fixture::{HELD, INDEX, INDEX_DOWN, INDEX_META, PEOPLE, PEOPLE_DOWN, lines, migrator, number};

#[tokio::test]
async fn what_is_pending_is_planned_applied_undone_and_redone() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let migrator = migrator(&[PEOPLE, PEOPLE_DOWN, INDEX, INDEX_DOWN, INDEX_META]);

    insta::assert_snapshot!(migrator.plan(&mut conn).await.unwrap(), @r"
    apply 1_people
         1  CREATE TABLE people (id int, name text)
    apply 2_index (each statement by itself)
         1  CREATE INDEX CONCURRENTLY people_name_idx ON people (name)  [SHARE UPDATE EXCLUSIVE, outside a transaction]
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
    assert!(
        text.contains("2_broken/up.sql:1: SELECT no_such_function(): failed")
            && text.contains("no_such_function"),
        "{text}"
    );
    assert_eq!(
        number(&mut conn, "SELECT count(*) AS n FROM pg_class WHERE relname IN ('people', 'half')").await,
        1
    );
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM __diesel_schema_migrations").await, 1);
    assert_eq!(number(&mut conn, HELD).await, 0);
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
    // The ledger's three tables and their indexes remain.
    assert_eq!(number(&mut conn, relations).await, 6);
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), all);
    assert_eq!(number(&mut conn, relations).await, up);
}

#[tokio::test]
async fn concurrently_works_beside_other_statements_and_settings_follow() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let mixed = "CREATE SCHEMA app; SET search_path = app;
        CREATE TABLE t (a int); -- a semicolon; in a comment
        CREATE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t (a);
        INSERT INTO t VALUES (1); DO $$ BEGIN PERFORM 1; END $$;
        VACUUM t;
        DROP INDEX CONCURRENTLY t_a; CREATE INDEX CONCURRENTLY ON t (a)";
    for metadata in [
        ("1_mixed/down.sql", "DROP SCHEMA app CASCADE"),
        ("1_mixed/metadata.toml", "run_in_transaction = false"),
    ] {
        let migrator =
            migrator(&[("1_mixed/up.sql", mixed), ("1_mixed/down.sql", "DROP SCHEMA app CASCADE"), metadata]);
        migrator.apply(&mut conn, |_| ()).await.unwrap();
        assert_eq!(
            lines(
                &mut conn,
                "SELECT indexrelid::regclass::text AS line FROM pg_index WHERE indrelid = 'app.t'::regclass"
            )
            .await,
            ["app.t_a_idx"]
        );
        migrator.undo(&mut conn, 1, |_| ()).await.unwrap();
    }
}

#[tokio::test]
async fn the_ledger_says_what_was_applied_and_how() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrator(&[PEOPLE, INDEX, INDEX_META]).apply(&mut conn, |_| ()).await.unwrap();
    let rows = "SELECT concat_ws(' ', version, name, length(checksum), statements, how, runner LIKE 'db-migrations %', \
                applied_by = session_user, now() - applied_at < interval '1 minute') AS line FROM __db_migrations ORDER BY 1";
    insta::assert_snapshot!(lines(&mut conn, rows).await.join("\n"), @r"
    1 people 64 1 ran t t t
    2 index 64 1 ran t t t
    ");
}

#[tokio::test]
async fn an_error_says_file_line_statement_and_what_the_server_advises() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let wrong = "-- first\nCREATE TABLE people (name text);\n\nSELECT 'é',\n  nam FROM people";
    let error = migrator(&[("1_a/up.sql", wrong)]).apply(&mut conn, |_| ()).await.unwrap_err().to_string();
    let at = error.find("1_a/up.sql").unwrap();
    insta::assert_snapshot!(&error[at..], @r#"
    1_a/up.sql:5: SELECT 'é', …: failed: column "nam" does not exist; Perhaps you meant to reference the column "people.name"
    "#);
    let deferred = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\n\
                    INSERT INTO b VALUES (1)";
    let error = migrator(&[("1_a/up.sql", deferred)]).apply(&mut conn, |_| ()).await.unwrap_err().to_string();
    let at = error.find("1_a/up.sql").unwrap();
    insta::assert_snapshot!(&error[at..], @r#"
    1_a/up.sql:2: COMMIT: failed: foreign key violation: insert or update on table "b" violates foreign key constraint "b_id_fkey" (SQLSTATE 23503)
    "#);
    let of_enum = "CREATE TYPE e AS ENUM ('a'); COMMIT; ALTER TYPE e ADD VALUE 'b'; SELECT 'b'::e";
    let files = [("1_a/up.sql", &*format!("BEGIN; {of_enum}"))];
    let error = migrator(&files).apply(&mut conn, |_| ()).await.unwrap_err().to_string();
    assert!(error.contains("run_in_transaction = false"), "{error}");
}

#[tokio::test]
async fn a_role_of_one_migration_reaches_neither_the_ledger_nor_the_next() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let role = format!("r_{}", database.name());
    let first = format!(
        "CREATE ROLE {role}; GRANT {role} TO current_user; SET ROLE {role}; SELECT 1; VACUUM; SELECT 1"
    );
    let migrator = migrator(&[("1_role/up.sql", &first), ("2_next/up.sql", "CREATE TABLE next (); ")]);
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), 2);
    assert_eq!(number(&mut conn, "SELECT (current_user = session_user)::int::bigint AS n").await, 1);
    conn.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn repeatable_migrations_run_last_and_again_when_they_change() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let view = |sql: &str| migrator(&[PEOPLE, PEOPLE_DOWN, ("R__names.sql", sql)]);
    let first = view("CREATE VIEW names AS SELECT name FROM people");
    assert_eq!(first.apply(&mut conn, |_| ()).await.unwrap().len(), 2);
    assert!(first.apply(&mut conn, |_| ()).await.unwrap().is_empty());
    let second = view("-- changed\nDROP VIEW names; CREATE VIEW names AS SELECT name, id FROM people");
    insta::assert_snapshot!(second.status(&mut conn).await.unwrap(), @r"
    applied  1_people
    applied  R__names (changed, runs again)
    2 applied, 0 pending
    ");
    let steps = second.apply(&mut conn, |_| ()).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.version.as_str()).collect::<Vec<_>>(), ["R__names"]);
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM __diesel_schema_migrations").await, 1);
}

#[tokio::test]
async fn a_connection_in_a_transaction_is_refused() {
    use diesel_async::AsyncConnection;
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.begin_test_transaction().await.unwrap();
    let refused = migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await;
    assert!(matches!(refused, Err(MigrationError::InTransaction)), "{refused:?}");
}

#[tokio::test]
async fn what_diesel_applied_and_undid_is_seen() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let migrator = migrator(&[PEOPLE, PEOPLE_DOWN]);
    migrator.apply(&mut conn, |_| ()).await.unwrap();
    // As diesel's CLI undoes it.
    conn.batch_execute("DROP TABLE people; DELETE FROM __diesel_schema_migrations WHERE version = '1'")
        .await
        .unwrap();
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), 1);
    // As diesel's CLI applies it.
    migrator.undo(&mut conn, 1, |_| ()).await.unwrap();
    conn.batch_execute(
        "CREATE TABLE people (id int, name text); INSERT INTO __diesel_schema_migrations VALUES ('1')",
    )
    .await
    .unwrap();
    assert!(migrator.apply(&mut conn, |_| ()).await.unwrap().is_empty());
    assert_eq!(migrator.redo(&mut conn, |_| ()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_callers_own_lock_stays_and_its_temporary_table_hides_nothing() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("SELECT pg_advisory_lock(7); CREATE TEMP TABLE people (); SET work_mem = '77MB'")
        .await
        .unwrap();
    let rows = ("2_rows/up.sql", "INSERT INTO people VALUES (1, 'Ada'); SELECT pg_advisory_lock(8)");
    assert_eq!(migrator(&[PEOPLE, rows]).apply(&mut conn, |_| ()).await.unwrap().len(), 2);
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM public.people").await, 1);
    let held = format!("{HELD} AND pid = pg_backend_pid() AND objid = 7");
    assert_eq!(number(&mut conn, &held).await, 1);
    assert_eq!(number(&mut conn, HELD).await, 1);
}
