//! `dbctl backfill` as an operator runs it.

use std::process::{Command, Stdio};

use db_testkit::{TestDatabase, until};
use diesel_async::SimpleAsyncConnection;

use crate::ask;
use crate::run::{ask_on, dbctl};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, email_lower text); \
    INSERT INTO users SELECT n, 'A' || n FROM generate_series(1, 5000) AS n; ANALYZE users";
const SET: &str = "email_lower = lower(email)";

#[tokio::test]
async fn a_backfill_is_planned_applied_and_remembered() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(USERS).await.unwrap();
    let at = [("DATABASE_URL", database.url())];
    let plan = dbctl(&at, &["backfill", "plan", "users", "--set", SET]).await;
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    assert!(plan.out.starts_with("public.users  about 5000 rows, 0 MB, by \"id\"\n"), "{}", plan.out);
    assert_eq!(ask(&database, "SELECT count(email_lower) FROM users").await, "0");
    let applied = dbctl(&at, &["backfill", "apply", "users", "--set", SET, "--json"]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    let outcome: serde_json::Value = serde_json::from_str(&applied.out).unwrap();
    assert_eq!(
        (outcome["rows_filled"].as_i64(), outcome["left"].as_i64()),
        (Some(5000), Some(0)),
        "{outcome}"
    );
    let status = dbctl(&at, &["backfill", "status"]).await;
    assert!(
        status.out.starts_with("finished  users.email_lower  5000 of 5000 rows filled"),
        "{}",
        status.out
    );
    assert_eq!(dbctl(&at, &["backfill", "forget", "users.email_lower"]).await.code, Some(0));
    assert_eq!(dbctl(&at, &["backfill", "status"]).await.out, "no backfill was begun here\n");

    let unfilled =
        dbctl(&at, &["backfill", "apply", "users", "--set", "email_lower = NULL", "--where", "id < 3"]).await;
    assert_eq!(unfilled.code, Some(0), "{}", unfilled.err);
    assert!(unfilled.out.contains("2 stay NULL"), "{}", unfilled.out);
    let wrong = dbctl(&at, &["backfill", "apply", "users", "--set", "email_lower"]).await;
    assert!(wrong.code == Some(2) && wrong.err.contains("COLUMN = EXPRESSION"), "{}", wrong.err);
}

#[tokio::test]
async fn an_interrupt_ends_a_backfill_behind_its_batch_and_the_same_command_goes_on() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(USERS).await.unwrap();
    // Each row takes a while, so that the signal comes in the middle.
    let slow = "email_lower = lower(email) || substr(pg_sleep(0.0005)::text, 1, 0)";
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbctl"));
    command.args([
        "backfill",
        "apply",
        "users",
        "--set",
        slow,
        "--max-rows",
        "100",
        "--max-slowdown",
        "never",
    ]);
    command.env("DATABASE_URL", database.url()).env_remove("DATABASE_DIRECT_URL").stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = "SELECT count(*) FROM users WHERE email_lower IS NOT NULL";
    until("some rows are filled", async || ask_on(&mut conn, begun).await != "0").await;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(130));
    let at = [("DATABASE_URL", database.url())];
    let said = dbctl(&at, &["backfill", "status"]).await;
    assert!(said.out.starts_with("cut off "), "{}", said.out);
    let rest = dbctl(&at, &["backfill", "apply", "users", "--set", slow, "--max-slowdown", "never"]).await;
    assert!(rest.code == Some(0) && rest.out.contains("5000 of 5000"), "{}{}", rest.out, rest.err);
}
