//! `dbctl` as an operator runs it.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod advise;
mod agent;
mod backfill;
mod backup;
mod cache;
mod consent;
mod deploys;
mod drill;
mod encrypted;
mod explain;
mod finish;
mod hooks;
mod inspect;
mod ledger;
mod maintain;
mod migrate;
mod migrate_check;
mod moving;
mod observing;
mod online_changes;
mod operations;
mod partitions;
mod program;
mod run;
mod schema_print;
mod seeds;
mod server;
mod sessions;
mod strangers;
mod verify;
mod webhook;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use db_testkit::TestDatabase;
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::run::{Run, ask_on, dbctl};

/// Writes the files of a directory of migrations, or of sets of seeds.
fn write(directory: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// The value of an expression, as text.
async fn ask(database: &TestDatabase, expression: &str) -> String {
    ask_on(&mut database.connect().await.unwrap(), expression).await
}

#[tokio::test]
async fn migrations_go_up_and_down_and_say_what_they_did() {
    let database = TestDatabase::empty().await.unwrap();
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    let plan = dbctl(&at, &["migrate", "plan", "--json"]).await;
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    let pending = plan["pending"].as_array().unwrap().len();
    assert!(pending > 20, "{plan}");

    let applied = dbctl(&at, &["migrate", "apply"]).await;
    assert_eq!((applied.code, applied.out), (Some(0), format!("{pending} applied\n")), "{}", applied.err);
    assert_eq!(dbctl(&at, &["migrate", "apply"]).await.out, "nothing to do\n");
    assert_eq!(dbctl(&at, &["migrate", "redo"]).await.out, "1 undone, 1 applied\n");
    assert_eq!(dbctl(&at, &["migrate", "undo", "--count", "2"]).await.out, "2 undone\n");
    let status = dbctl(&at, &["migrate", "status"]).await.out;
    assert!(status.ends_with(&format!("{} applied, 2 pending\n", pending - 2)), "{status}");

    dbctl(&at, &["migrate", "apply"]).await;
    let seeded = dbctl(&at, &["seed", "test"]).await;
    assert_eq!(seeded.code, Some(0), "{}", seeded.err);
    assert_eq!(dbctl(&at, &["seed", "test"]).await.out, "test is already loaded\n");
}

#[tokio::test]
async fn seeds_are_refused_in_production() {
    let database = TestDatabase::empty().await.unwrap();
    let refused =
        dbctl(&[("DATABASE_URL", database.url()), ("APP_ENV", "production")], &["seed", "test"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("production"), "{}", refused.err);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_password_is_not() {
    let missing = dbctl(&[], &["migrate", "status"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("DATABASE_URL: not set"), "{}", missing.err);

    let dead = [("DATABASE_URL", "postgres://ann:hunter2@127.0.0.1:1/app"), ("APP_ENV", "test")];
    for arguments in [&["migrate", "status"][..], &["seed", "test"]] {
        let refused = dbctl(&dead, arguments).await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.err.contains("is PostgreSQL running there"), "{}", refused.err);
        assert!(!refused.err.contains("hunter2"), "{}", refused.err);
    }
    assert_eq!(dbctl(&[], &["migrate", "fly"]).await.code, Some(2));
}

#[tokio::test]
async fn an_interrupt_stops_the_statement_on_the_server() {
    let database = TestDatabase::empty().await.unwrap();
    let mut observer = database.connect().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let migration = directory.path().join("1_slow");
    std::fs::create_dir(&migration).unwrap();
    std::fs::write(migration.join("metadata.toml"), "run_in_transaction = false").unwrap();
    std::fs::write(migration.join("up.sql"), "SELECT pg_sleep(600); CREATE TABLE too_late ()").unwrap();

    let mut command = Command::new(env!("CARGO_BIN_EXE_dbctl"));
    command.args(["migrate", "apply", "--dir"]).arg(directory.path()).env("DATABASE_URL", database.url());
    let mut child = command.env_remove("DATABASE_DIRECT_URL").spawn().unwrap();
    let sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'dbctl' AND datname = current_database() \
                    AND query LIKE 'SELECT pg_sleep%'";
    let count = async |conn: &mut AsyncPgConnection| sql_query(sessions).execute(conn).await.unwrap();
    let started = Instant::now();
    while count(&mut observer).await == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "the migration does not start");
    }
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(130));
    while count(&mut observer).await > 0 {
        assert!(started.elapsed() < Duration::from_secs(40), "the statement goes on");
    }
    let made =
        sql_query("SELECT 1 FROM pg_class WHERE relname = 'too_late'").execute(&mut observer).await.unwrap();
    assert_eq!(made, 0);
}

#[tokio::test]
async fn the_url_can_come_from_a_file() {
    let database = TestDatabase::empty().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, format!("{}\n", database.url())).unwrap();
    let status = dbctl(&[], &["--url-file", file.to_str().unwrap(), "migrate", "status"]).await;
    assert_eq!(status.code, Some(0), "{}", status.err);
    let absent = dbctl(&[], &["--url-file", "/no/such/file", "migrate", "status"]).await;
    assert!(absent.err.contains("/no/such/file"), "{}", absent.err);
}
