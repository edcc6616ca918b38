//! docs/online-changes.md is run: every block of shell, in order, on a database with what the page speaks of.

use std::process::Command;

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use crate::ask;
use crate::operations::sections;
use crate::server::DBCTL;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/online-changes.md"));

/// The tables that the page changes.
const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, email_lower text); \
    CREATE TABLE orders (id int PRIMARY KEY, user_id int, amount int NOT NULL DEFAULT 7, reference text); \
    INSERT INTO users SELECT n, 'A' || n FROM generate_series(1, 1000) AS n; \
    INSERT INTO orders SELECT n, n, n, 'r' || n FROM generate_series(1, 1000) AS n; ANALYZE";

#[tokio::test]
async fn the_page_on_online_changes_does_what_it_says() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(SCHEMA).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let programs = std::path::Path::new(DBCTL).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for (heading, blocks) in sections(PAGE) {
        for block in blocks {
            let mut command = Command::new("bash");
            command.args(["-euo", "pipefail", "-c", &block]).current_dir(home.path()).env("PATH", &path);
            command
                .env("DATABASE_URL", database.url())
                .env_remove("DATABASE_DIRECT_URL")
                .env("APP_ENV", "test");
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{heading}:\n{block}\n{said}");
            ran += 1;
        }
    }
    assert!(ran >= 6, "{ran} blocks");
    let kind = "SELECT data_type FROM information_schema.columns WHERE table_name = 'orders' AND column_name \
        = 'amount'";
    assert_eq!(ask(&database, kind).await, "bigint");
    assert_eq!(ask(&database, "SELECT sum(amount) FROM orders").await, "500500");
    let constraints = "SELECT count(*) FROM pg_constraint WHERE conname IN ('orders_user_id_fkey', \
        'orders_reference_key') \
                       AND convalidated";
    assert_eq!(ask(&database, constraints).await, "2");
    assert_eq!(ask(&database, "SELECT relkind FROM pg_class WHERE relname = 'people'").await, "r");
    assert_eq!(ask(&database, "SELECT to_regclass('users') IS NULL").await, "true");
    let nulls =
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'people'::regclass AND attname = 'email_lower'";
    assert_eq!(ask(&database, nulls).await, "true");
    // Everything can be undone, as far as its data is there.
    let dir = home.path().join("migrations");
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    let dir = dir.to_str().unwrap();
    let count = std::fs::read_dir(dir).unwrap().count().to_string();
    let undone = crate::run::dbctl(&at, &["migrate", "undo", "--count", &count, "--dir", dir]).await;
    assert_eq!(undone.code, Some(0), "{}", undone.err);
    assert_eq!(ask(&database, kind).await, "integer");
    assert_eq!(ask(&database, "SELECT relkind FROM pg_class WHERE relname = 'users'").await, "r");
}
