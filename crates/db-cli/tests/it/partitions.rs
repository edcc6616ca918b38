//! `dbctl partitions`, and docs/partitions.md: every block of shell, in order, against a real server.

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection as _;
use serde_json::Value;

use crate::operations::{Host, sections};
use crate::{ask, dbctl};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/partitions.md"));

#[test]
fn every_block_of_the_page_does_what_it_says() {
    let host = Host::new();
    host.shell(
        "the server",
        "initdb -D $PGDATA -U postgres -A scram-sha-256 --pwfile=password --no-sync > /dev/null
         printf \"listen_addresses = ''\\nunix_socket_directories = '%s'\\n\" \"$PGHOST\" >> \
         $PGDATA/postgresql.conf
         pg_ctl start -D $PGDATA -w -l server.log > /dev/null
         createdb app",
    );
    let sections = sections(PAGE);
    assert!(sections.len() >= 5, "{sections:?}");
    for (heading, blocks) in &sections {
        for block in blocks {
            host.shell(&format!("a block of {heading:?}"), block);
        }
    }
    host.shell("the end", "pg_ctl stop -D $PGDATA -m fast > /dev/null");
}

#[tokio::test]
async fn exit_statuses_and_json_say_what_there_is_to_do() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at)").await.unwrap();
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), "[[set]]\ntable = \"public.events\"\nevery = \"year\"\n").unwrap();
    let path = policy.path().to_str().unwrap();
    let at = [("DATABASE_URL", database.url()), ("PARTITION_POLICY", path)];
    let plan = dbctl(&at, &["partitions", "plan", "--json"]).await;
    assert_eq!(plan.code, Some(3), "{}", plan.err);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(plan["sets"][0]["steps"][0]["step"], "create", "{plan}");
    assert_eq!(dbctl(&at, &["partitions", "status"]).await.code, Some(3));
    let applied = dbctl(&at, &["partitions", "apply"]).await;
    assert_eq!(applied.code, Some(0), "{}{}", applied.out, applied.err);
    assert!(applied.out.contains("done: create public.events_p"), "{}", applied.out);
    assert_eq!(dbctl(&at, &["partitions", "plan"]).await.code, Some(0));
    conn.batch_execute("INSERT INTO events VALUES (current_date)").await.unwrap();
    assert_eq!(ask(&database, "SELECT count(*) FROM events").await, "1");

    let without = dbctl(&at[..1], &["partitions", "plan"]).await;
    assert_eq!(without.code, Some(2));
    assert!(without.err.contains("--policy"), "{}", without.err);
    // The agent has it among its jobs.
    let jobs = dbctl(&at, &["agent", "--plan", "--json"]).await;
    assert!(jobs.out.contains("\"partitions\""), "{}{}", jobs.out, jobs.err);
}
