//! `dbctl migrate` in deploys: old releases beside new ones, values for each environment, errors for
//! programs.

use std::time::Duration;

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;
use serde_json::{Value, json};

use crate::run::{Run, ask_on, dbctl};
use crate::write;

const ONE: (&str, &str) = ("1_one/up.sql", "CREATE TABLE one (id int)");
const TWO: (&str, &str) = ("2_two/up.sql", "CREATE TABLE two (id int)");
const THREE: (&str, &str) = ("3_three/up.sql", "CREATE TABLE three (id int); SELECT pg_sleep(0.3)");

/// A release: its migrations, and how it starts.
struct Release {
    directory: tempfile::TempDir,
    url: String,
}

impl Release {
    fn new(database: &TestDatabase, files: &[(&str, &str)]) -> Release {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), files);
        Release { directory, url: database.url().to_owned() }
    }

    async fn runs(&self, arguments: &[&str]) -> Run {
        let dir = self.directory.path().to_str().unwrap();
        dbctl(&[("DATABASE_URL", &self.url)], &[&["migrate"], arguments, &["--dir", dir]].concat()).await
    }
}

#[tokio::test]
async fn old_releases_restart_beside_new_ones() {
    let database = TestDatabase::empty().await.unwrap();
    let (old, new) = (Release::new(&database, &[ONE, TWO]), Release::new(&database, &[ONE, TWO, THREE]));
    assert_eq!(old.runs(&["apply"]).await.out, "2 applied\n");
    assert_eq!(new.runs(&["plan", "--exit-code"]).await.code, Some(3), "one is pending");

    // Old pods restart while new ones come up.
    let start = ["apply", "--accept", "newer"];
    let (a, b, c, d) = tokio::join!(new.runs(&start), old.runs(&start), new.runs(&start), old.runs(&start));
    for pod in [&a, &b, &c, &d] {
        assert_eq!(pod.code, Some(0), "{}{}", pod.out, pod.err);
    }
    let applied = [&a, &b, &c, &d].iter().filter(|pod| pod.out == "1 applied\n").count();
    assert_eq!(applied, 1, "one of them applied it");
    assert_eq!(new.runs(&["plan", "--exit-code"]).await.code, Some(0), "nothing is pending any more");
    assert_eq!(old.runs(&["plan", "--exit-code", "--accept", "newer"]).await.code, Some(0));

    // Without the word, or where a branch was forgotten, it is an error.
    let refused = old.runs(&["apply"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("--accept newer"), "{}", refused.err);
    let other = Release::new(&database, &[ONE, THREE]);
    let refused = other.runs(&start).await;
    assert!(refused.code == Some(1) && refused.err.contains("migration 2 is applied"), "{}", refused.err);
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let database = TestDatabase::empty().await.unwrap();
    let first = Release::new(&database, &[ONE, TWO]);
    first.runs(&["apply"]).await;
    let fine = first.runs(&["validate"]).await;
    assert_eq!((fine.code, fine.out.as_str()), (Some(0), "nothing is wrong\n"), "{}", fine.err);
    let edited = ("1_one/up.sql", "CREATE TABLE one (id bigint)");
    let wrong = Release::new(
        &database,
        &[edited, ("3_copy/up.sql", "SELECT 1"), ("3_copy/down.sql", "SELECT 1;\n\\echo no")],
    );
    let found = wrong.runs(&["validate"]).await;
    assert_eq!(found.code, Some(3), "{}{}", found.out, found.err);
    for told in ["1_one was edited", "migration 2 is applied", "3_copy/down.sql:2"] {
        assert!(found.out.contains(told), "{told}: {}", found.out);
    }
    let found = wrong.runs(&["validate", "--accept", "edited,unknown", "--json"]).await;
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!((found["findings"].as_array().unwrap().len(), &found["findings"][0]["line"]), (1, &json!(2)));
}

#[tokio::test]
async fn values_stand_for_placeholders_where_some_are_given() {
    let database = TestDatabase::empty().await.unwrap();
    let files =
        [("1_owned/up.sql", "CREATE TABLE \"${name}\" (id int);\nCOMMENT ON TABLE \"${name}\" IS '${what}'")];
    let release = Release::new(&database, &files);
    let given = ["--placeholder", "name=things", "--placeholder", "what=of = ours"];
    let missing = release.runs(&[&["apply"], &given[..2]].concat()).await;
    let told = missing.err.contains("up.sql:2: the placeholder ${what} has no value");
    assert!(missing.code == Some(1) && told, "{}", missing.err);
    let applied = release.runs(&[&["apply"], &given[..]].concat()).await;
    assert_eq!(applied.out, "1 applied\n", "{}", applied.err);
    let mut conn = database.connect().await.unwrap();
    assert_eq!(ask_on(&mut conn, "obj_description('things'::regclass)").await, "of = ours");
    // Another value is no edit, and without any value the text is what it is.
    let other = ["apply", "--placeholder", "name=other", "--placeholder", "what=x"];
    assert_eq!(release.runs(&other).await.out, "nothing to do\n");
    let plain = Release::new(
        &database,
        &[files[0], ("2_text/up.sql", "CREATE TABLE noted AS SELECT '${x}'::text AS x")],
    );
    assert_eq!(plain.runs(&["apply"]).await.out, "1 applied\n");
    assert_eq!(ask_on(&mut conn, "SELECT x FROM noted").await, "${x}");
}

#[tokio::test]
async fn errors_are_fields_for_programs() {
    let database = TestDatabase::empty().await.unwrap();
    let release = Release::new(&database, &[("1_a/up.sql", "SELECT 1;\nSELECT\n  nil")]);
    let failed = release.runs(&["apply", "--json"]).await;
    let error: Value = serde_json::from_str(failed.err.trim()).unwrap();
    let file = release.directory.path().join("1_a/up.sql").display().to_string();
    assert_eq!((failed.code, &error["file"], &error["line"]), (Some(1), &json!(file), &json!(3)), "{error}");
    assert_eq!((&error["sqlstate"], &error["statement"]), (&json!("42703"), &json!("SELECT …")), "{error}");
    assert!(error["error"].as_str().unwrap().contains("does not exist"), "{error}");

    let denied =
        Release::new(&database, &[("1_a/up.sql", "SET ROLE pg_monitor; CREATE TABLE public.mine ()")]);
    let denied = denied.runs(&["apply", "--json"]).await;
    let error: Value = serde_json::from_str(denied.err.trim()).unwrap();
    let hint = error["hint"].as_str().unwrap_or_default();
    assert!(error["sqlstate"] == "42501" && hint.contains("GRANT CREATE ON SCHEMA public"), "{error}");
}

#[tokio::test]
async fn how_long_and_how_often_a_lock_is_tried_can_be_said() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    for statement in ["CREATE TABLE one (id int)", "BEGIN", "LOCK TABLE one IN ACCESS SHARE MODE"] {
        conn.batch_execute(statement).await.unwrap();
    }
    let release = Release::new(&database, &[("1_a/up.sql", "ALTER TABLE one ADD COLUMN n int")]);
    let tries = ["apply", "--lock-timeout", "20", "--lock-attempts", "2"];
    let refused = release.runs(&tries).await;
    assert!(refused.code == Some(1) && refused.err.contains("in 2 attempts"), "{}", refused.err);
}

#[tokio::test]
async fn how_far_a_long_statement_is_is_told() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let slow = "CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
                'BEGIN PERFORM pg_sleep(0.05); RETURN n; END'";
    conn.batch_execute(slow).await.unwrap();
    conn.batch_execute("CREATE TABLE many AS SELECT n FROM generate_series(1, 140) n").await.unwrap();
    let release = Release::new(&database, &[("1_index/up.sql", "CREATE INDEX many_idx ON many (slow(n))")]);
    let began = std::time::Instant::now();
    let applied = release.runs(&["apply"]).await;
    assert!(began.elapsed() > Duration::from_secs(6) && applied.code == Some(0), "{}", applied.err);
    assert!(
        applied.err.contains("up.sql:1 has run for 5 s: CREATE INDEX, building index"),
        "{}",
        applied.err
    );
}

#[tokio::test]
async fn a_plan_names_both_locks_of_attach_partition() {
    let database = TestDatabase::empty().await.unwrap();
    let parts = "CREATE TABLE days (at date NOT NULL) PARTITION BY RANGE (at); CREATE TABLE days_1 (at date NOT NULL)";
    let attach = "ALTER TABLE days ATTACH PARTITION days_1 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')";
    let release = Release::new(&database, &[("1_parts/up.sql", parts), ("2_attach/up.sql", attach)]);
    let applied = release.runs(&["apply", "--to", "1"]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    let planned = release.runs(&["plan"]).await.out;
    assert!(planned.contains("[SHARE UPDATE EXCLUSIVE; ACCESS EXCLUSIVE on the partition]"), "{planned}");
    // And that is what the server takes.
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("BEGIN").await.unwrap();
    conn.batch_execute(attach).await.unwrap();
    let held = "(SELECT string_agg(relation::regclass || ' ' || mode, ', ' ORDER BY 1) FROM (SELECT DISTINCT ON (relation) \
                relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('days'::regclass, 'days_1'::regclass) \
                AND mode LIKE '%Exclusive%' ORDER BY relation, mode) AS held)";
    let held = ask_on(&mut conn, held).await;
    assert_eq!(held, "days ShareUpdateExclusiveLock, days_1 AccessExclusiveLock");
}
