//! What one migration leaves in its session, and that the next finds nothing of it.

use db_testkit::TestDatabase;

use crate::{Run, ask, dbctl, write};

async fn apply(database: &TestDatabase, files: &[(&str, &str)]) -> Run {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), files);
    let dir = directory.path().to_str().unwrap();
    dbctl(&[("DATABASE_URL", database.url())], &["migrate", "apply", "--dir", dir]).await
}

#[tokio::test]
async fn a_temporary_table_hides_no_table_from_the_next_migration() {
    let database = TestDatabase::empty().await.unwrap();
    let files = [
        ("1_users/up.sql", "CREATE TABLE users (id int)"),
        ("2_fill/up.sql", "CREATE TEMP TABLE users (id int); INSERT INTO users VALUES (1)"),
        ("3_column/up.sql", "ALTER TABLE users ADD COLUMN name text; INSERT INTO users VALUES (2, 'Ada')"),
        ("R__named.sql", "CREATE OR REPLACE VIEW named AS SELECT name FROM users"),
    ];
    let applied = apply(&database, &files).await;
    assert_eq!((applied.code, applied.out.as_str()), (Some(0), "4 applied\n"), "{}", applied.err);
    assert_eq!(ask(&database, "SELECT string_agg(name, ',') FROM named").await, "Ada");
    assert_eq!(ask(&database, "SELECT count(*) FROM public.users").await, "1");
}

const LEAVES: &str = "
    SET work_mem = '77MB'; SET my.setting = 'left'; PREPARE left_over AS SELECT 1; LISTEN left_over;
    CREATE SEQUENCE numbers; SELECT nextval('numbers');
    SELECT pg_advisory_lock(42), pg_advisory_lock(42), pg_advisory_lock(-42), pg_advisory_lock(1, -2),
        pg_advisory_lock_shared(43), pg_advisory_lock_shared(-1, 2);
    DECLARE left_over CURSOR WITH HOLD FOR SELECT 1;
    CREATE TEMP TABLE left_over (); CREATE FUNCTION pg_temp.left_over() RETURNS int LANGUAGE sql RETURN 1";

/// The runner's own lock is the one that stays.
const FINDS: &str = "CREATE TABLE found AS SELECT concat_ws(' ',
    current_setting('work_mem') = '77MB', nullif(current_setting('my.setting', true), ''),
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
    (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE is_holdable),
    to_regclass('left_over'), to_regproc('pg_temp.left_over'),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())) AS what;
    DO $$BEGIN PERFORM currval('numbers'); INSERT INTO found VALUES ('currval');
        EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END$$";

#[tokio::test]
async fn nothing_of_one_migrations_session_is_seen_by_the_next() {
    let database = TestDatabase::empty().await.unwrap();
    let applied = apply(&database, &[("1_leaves/up.sql", LEAVES), ("2_finds/up.sql", FINDS)]).await;
    assert_eq!((applied.code, applied.out.as_str()), (Some(0), "2 applied\n"), "{}", applied.err);
    assert_eq!(ask(&database, "SELECT string_agg(what, ' | ') FROM found").await, "f 0 0 0 1");
}

#[tokio::test]
async fn discard_all_cleans_the_session_and_keeps_the_runners_lock() {
    let database = TestDatabase::empty().await.unwrap();
    let discards = format!("{LEAVES}; DISCARD ALL; {FINDS}");
    let applied = apply(&database, &[("1_discards/up.sql", &discards)]).await;
    assert_eq!((applied.code, applied.out.as_str()), (Some(0), "1 applied\n"), "{}", applied.err);
    let found = ask(&database, "SELECT string_agg(what, ' | ') FROM found").await;
    // The settings of a file hold for the rest of it.
    assert_eq!(found, "t left 0 0 0 1");
}

#[tokio::test]
async fn a_migration_that_releases_the_runners_lock_is_not_recorded() {
    let database = TestDatabase::empty().await.unwrap();
    let releases = ("1_releases/up.sql", "CREATE TABLE one (); SELECT pg_advisory_unlock_all()");
    let refused = apply(&database, &[releases, ("2_two/up.sql", "CREATE TABLE two ()")]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("released the runner's lock"), "{}", refused.err);
    assert!(refused.err.contains("remove pg_advisory_unlock_all()"), "{}", refused.err);
    assert_eq!(ask(&database, "SELECT count(*) FROM __diesel_schema_migrations").await, "0");
    assert_eq!(ask(&database, "concat(to_regclass('one'), to_regclass('two'))").await, "");
}

#[tokio::test]
async fn a_local_setting_without_effect_and_a_surprising_order_are_warned_of() {
    let database = TestDatabase::empty().await.unwrap();
    let files = [
        ("10_local/up.sql", "SET LOCAL work_mem = '77MB';\nVACUUM"),
        ("2_set/up.sql", "SET LOCAL work_mem = '77MB';\nSELECT 1"),
    ];
    let applied = apply(&database, &files).await;
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    assert!(applied.err.contains("10_local/up.sql:1: SET LOCAL has no effect"), "{}", applied.err);
    assert!(!applied.err.contains("2_set/up.sql:1"), "{}", applied.err);
    assert!(applied.err.contains("10 runs before 2"), "{}", applied.err);
}

#[tokio::test]
async fn a_cut_off_migration_does_not_go_on_without_its_temporary_table() {
    let database = TestDatabase::empty().await.unwrap();
    let users = ("1_users/up.sql", "CREATE TABLE users (id int); INSERT INTO users VALUES (1)");
    // A division by zero stands for whatever cuts a runner off: the next one has another session.
    let cut_off = "CREATE TEMP TABLE users (id int);\nVACUUM;\nSELECT 1 / 0;\nDELETE FROM users";
    assert_eq!(apply(&database, &[users, ("2_clean/up.sql", cut_off)]).await.code, Some(1));
    let mended = cut_off.replace("1 / 0", "1");
    let refused = apply(&database, &[users, ("2_clean/up.sql", &mended)]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("2_clean/up.sql:4: the temporary table users went"), "{}", refused.err);
    assert_eq!(ask(&database, "SELECT count(*) FROM users").await, "1");
    let again = mended.replace("SELECT 1;", "CREATE TEMP TABLE IF NOT EXISTS users (id int);");
    let applied = apply(&database, &[users, ("2_clean/up.sql", &again)]).await;
    assert_eq!((applied.code, applied.out.as_str()), (Some(0), "1 applied\n"), "{}", applied.err);
    assert_eq!(ask(&database, "SELECT count(*) FROM users").await, "1");
}
