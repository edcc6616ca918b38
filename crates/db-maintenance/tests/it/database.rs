//! A database of its own for each test, and what tests ask of it.

use db_maintenance::partitions::{Partitions, Plan, Policy, Report};
use db_testkit::TestDatabase;
use tokio_postgres::{Client, NoTls};

/// A database with what these statements make.
pub(crate) async fn with(statements: &str) -> (TestDatabase, Client) {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await;
    client.batch_execute(statements).await.unwrap();
    (database, client)
}

/// A connection that has COPY.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Partitions by the text of a policy, at this time.
pub(crate) fn at(now: &str, policy: &str) -> Partitions {
    Partitions::new(Policy::parse("policy.toml", policy).unwrap()).unwrap().at(now.parse().unwrap())
}

/// What was done, in words.
pub(crate) async fn apply(partitions: &Partitions, client: &mut Client) -> Report {
    let report = partitions.apply(client).await.unwrap();
    assert!(report.is_led);
    // The maintainer leaves its session pinned.
    client.batch_execute("RESET search_path").await.unwrap();
    report
}

pub(crate) fn done(report: &Report) -> Vec<String> {
    report.sets.iter().flat_map(|set| set.done.clone()).collect()
}

pub(crate) fn failed(report: &Report) -> String {
    let failed = report.sets.iter().flat_map(|set| &set.failed);
    failed.map(|failed| format!("{}: {}\n", failed.what, failed.why)).collect()
}

pub(crate) fn held(plan: &Plan) -> String {
    let held = plan.sets.iter().flat_map(|set| &set.held);
    held.map(|held| format!("{}: {}\n", held.partition, held.why)).collect()
}

/// One column of a query, as texts.
pub(crate) async fn texts(client: &Client, sql: &str) -> Vec<String> {
    client.batch_execute("RESET search_path").await.unwrap();
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_default()).collect()
}

/// The bounds of a table's partitions.
pub(crate) async fn bounds(client: &Client, table: &str) -> Vec<String> {
    let sql = format!(
        "SET TimeZone = 'UTC'; SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c \
         ON c.oid = i.inhrelid WHERE i.inhparent = '{table}'::regclass ORDER BY 1"
    );
    let (set, sql) = sql.split_once("; ").unwrap();
    client.batch_execute(set).await.unwrap();
    texts(client, sql).await
}
