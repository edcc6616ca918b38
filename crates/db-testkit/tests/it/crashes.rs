//! Test databases of processes that were killed, and templates that processes share.

use crate::children;
use crate::{connect, one, until};
use db_testkit::Cluster;
use tokio_postgres::Client;

async fn server() -> (Cluster, Client) {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = connect(&cluster.primary_url().replace("/app", "/postgres")).await.unwrap();
    (cluster, client)
}

async fn exists(client: &Client, name: &str) -> bool {
    client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await.unwrap().is_some()
}

const HELD: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
const TEMPLATES: &str = "SELECT count(*) FROM pg_database WHERE datname LIKE 'testkit\\_t%'";
const RUNS: &str = "SELECT count(*) FROM pg_database WHERE datname LIKE 'testkit\\_r%'";

fn name_of(said: &str) -> &str {
    said.split(' ').next().unwrap()
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_swept_and_those_of_a_living_one_are_not() {
    let (cluster, client) = server().await;
    let url = cluster.primary_url();
    let mut living = children::start("database", Some(&url), None);
    let of_living = living.heard();
    let mut killed = children::start("database", Some(&url), None);
    let of_killed = killed.heard();
    killed.kill();
    until("the server notices", async || one::<i64>(&client, HELD).await == 1).await;
    assert!(exists(&client, name_of(&of_killed)).await, "nobody has swept yet");
    let mut next = children::start("database", Some(&url), None);
    let of_next = next.heard();
    assert!(!exists(&client, name_of(&of_killed)).await);
    assert!(exists(&client, name_of(&of_living)).await);
    assert!(exists(&client, name_of(&of_next)).await);
    for mut child in [living, next] {
        child.go_on();
        assert!(child.child.wait().unwrap().success());
    }
    assert_eq!(one::<i64>(&client, RUNS).await, 0);
}

#[tokio::test]
async fn a_template_is_made_once_by_two_processes_at_once() {
    let (cluster, client) = server().await;
    let (url, dir) = (cluster.primary_url(), tempfile::tempdir().unwrap());
    let notes = dir.path().join("notes");
    let mut first = children::start("template", Some(&url), Some(&notes));
    assert_eq!(first.heard(), "filling");
    let mut second = children::start("template", Some(&url), Some(&notes));
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    until("the second process waits for the first", async || one::<i64>(&client, waiting).await == 1).await;
    first.go_on();
    for child in [&mut first, &mut second] {
        assert!(child.heard().starts_with("cloned "));
    }
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "began\n");
    assert_eq!(one::<i64>(&client, TEMPLATES).await, 1);
}

#[tokio::test]
async fn a_template_that_its_maker_left_half_filled_is_never_used() {
    let (cluster, client) = server().await;
    let (url, dir) = (cluster.primary_url(), tempfile::tempdir().unwrap());
    let notes = dir.path().join("notes");
    let mut first = children::start("template", Some(&url), Some(&notes));
    assert_eq!(first.heard(), "filling");
    first.kill();
    until("the server notices", async || one::<i64>(&client, HELD).await == 0).await;
    std::fs::write(notes.with_extension("go"), "").unwrap();
    let mut second = children::start("template", Some(&url), Some(&notes));
    assert!(second.heard().starts_with("cloned "), "it has both tables");
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "began\nbegan\n");
    assert_eq!((one::<i64>(&client, TEMPLATES).await, one::<i64>(&client, RUNS).await), (1, 1));
}

#[tokio::test]
async fn old_templates_go_when_nobody_uses_them_and_newer_ones_are_there() {
    let (cluster, client) = server().await;
    let (url, dir) = (cluster.primary_url(), tempfile::tempdir().unwrap());
    let notes = dir.path().join("notes");
    std::fs::write(notes.with_extension("go"), "").unwrap();
    let mut user = children::start("template", Some(&url), Some(&notes));
    user.heard();
    let used: String =
        one(&client, "SELECT datname::text FROM pg_database WHERE datname LIKE 'testkit\\_t%'").await;
    let backdate = format!("COMMENT ON DATABASE \"{used}\" IS 'db-testkit template, used 1000'");
    client.batch_execute(&backdate).await.unwrap();
    for newer in 0..8 {
        client.batch_execute(&format!("CREATE DATABASE testkit_t0_{newer}")).await.unwrap();
        let now = format!(
            "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE testkit_t0_{newer} IS %L', 'used ' || extract(epoch FROM now())::int8); END $$"
        );
        client.batch_execute(&now).await.unwrap();
    }
    children::start("database", Some(&url), None).heard();
    assert!(exists(&client, &used).await, "a living process uses it");
    user.go_on();
    assert!(user.child.wait().unwrap().success());
    until("the server notices", async || one::<i64>(&client, HELD).await == 0).await;
    children::start("database", Some(&url), None).heard();
    assert!(!exists(&client, &used).await);
    assert_eq!(one::<i64>(&client, TEMPLATES).await, 8, "the newer ones stay");
}
