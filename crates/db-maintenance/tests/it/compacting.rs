//! Compaction: a bloated table becomes small, and everything that would see it forbids it.

use std::future::pending;
use std::time::Duration;

use db_maintenance::compact::{Compact, CompactConfig, Compacted};
use db_maintenance::{MaintenanceError, Result};
use db_testkit::TestDatabase;
use tokio_postgres::Client;

use crate::database::{self, connect};

/// 30,000 rows, of which every third stays: three times as large as it must be.
const BLOATED: &str = "CREATE TABLE orders (id int PRIMARY KEY, body text, note text); \
    ALTER TABLE orders SET (autovacuum_enabled = off); \
    INSERT INTO orders SELECT n, md5(n::text), repeat('x', n % 40) FROM generate_series(1, 30000) AS n; \
    DELETE FROM orders WHERE id % 3 <> 0";

const CONTENT: &str = "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders AS o";

/// A database with these tables, and sizes that are known.
async fn with(sql: &str) -> (TestDatabase, Client) {
    let (database, client) = database::with(sql).await;
    client.batch_execute("VACUUM (ANALYZE, TRUNCATE off)").await.unwrap();
    (database, client)
}

fn compact() -> Compact {
    Compact::new("public.orders".parse().unwrap(), moving())
}

/// Rows are moved, also where the server could do more.
fn moving() -> CompactConfig {
    CompactConfig { repack: false, ..CompactConfig::default() }
}

async fn run(client: &mut Client, compact: &Compact) -> Result<Compacted> {
    compact.run(client, None, pending(), |_| ()).await
}

async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_bloated_table_shrinks_to_its_live_size_and_keeps_every_row() {
    let (_database, mut client) = with(BLOATED).await;
    let before = text(&client, CONTENT).await;
    let plan = compact().plan(&mut client).await.unwrap();
    assert!(plan.refusals.is_empty() && plan.bytes > plan.live_bytes * 5 / 2, "{plan:?}");
    let done = run(&mut client, &compact()).await.unwrap();
    assert!(done.stopped.is_none() && done.bytes_after * 20 <= done.live_bytes * 23, "{done:?}");
    assert_eq!(done.bytes_before, plan.bytes);
    assert_eq!(
        text(&client, "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM public.orders AS o").await,
        before
    );
    // What is small is left alone.
    assert_eq!(run(&mut client, &compact()).await.unwrap().rows_moved, 0);
}

#[tokio::test]
async fn whoever_would_see_rows_move_forbids_it_by_name() {
    let (_database, mut client) = with(&format!(
        "{BLOATED}; CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := now(); \
            RETURN NEW; END'; \
         CREATE TRIGGER touched BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch(); \
         CREATE PUBLICATION everyone FOR TABLE orders; CREATE RULE r AS ON UPDATE TO orders DO ALSO NOTIFY \
         moved"
    ))
    .await;
    let before = text(&client, CONTENT).await;
    let refused = run(&mut client, &compact()).await.unwrap_err();
    assert!(matches!(refused, MaintenanceError::Refused { .. }), "{refused}");
    for witness in ["the trigger touched", "the rule r", "the publication everyone"] {
        assert!(refused.to_string().contains(witness), "{witness}: {refused}");
    }
    assert_eq!(text(&client, &CONTENT.replace("orders", "public.orders")).await, before);
    // Triggers that no update fires, and publications that send none, are in nobody's way.
    client
        .batch_execute(
            "SET search_path = public; DROP TRIGGER touched ON orders; DROP RULE r ON orders; DROP \
                PUBLICATION everyone; \
             CREATE TRIGGER made BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch(); \
             CREATE PUBLICATION inserts FOR TABLE orders WITH (publish = 'insert')",
        )
        .await
        .unwrap();
    assert_eq!(compact().plan(&mut client).await.unwrap().refusals, Vec::<String>::new());
}

#[tokio::test]
async fn an_old_snapshot_forbids_it_with_its_session() {
    let (database, mut client) = with(BLOATED).await;
    let holder = connect(database.url()).await;
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let strict = CompactConfig { oldest_snapshot: Duration::ZERO, ..moving() };
    let strict = Compact::new("public.orders".parse().unwrap(), strict);
    let refusals = strict.plan(&mut client).await.unwrap().refusals;
    assert!(refusals.iter().any(|why| why.contains(&format!("session {pid} "))), "{refusals:?}");
}

#[tokio::test]
async fn a_row_that_is_locked_stays_and_nobody_waits_for_it() {
    let (database, mut client) = with(BLOATED).await;
    let holder = connect(database.url()).await;
    holder.batch_execute("BEGIN; SELECT FROM orders WHERE id = 30000 FOR UPDATE").await.unwrap();
    let place = "SELECT ctid::text FROM public.orders WHERE id = 30000";
    let before = text(&holder, place).await;
    let once = CompactConfig { passes: 1, budget: Some(Duration::from_secs(5)), ..moving() };
    let done = Compact::new("public.orders".parse().unwrap(), once);
    let done = done.run(&mut client, None, pending(), |_| ()).await.unwrap();
    assert!(done.rows_moved > 1_000 && done.stopped.is_some(), "{done:?}");
    assert_eq!(text(&holder, place).await, before);
    holder.batch_execute("COMMIT").await.unwrap();
    let done = run(&mut client, &compact()).await.unwrap();
    assert!(done.stopped.is_none() && done.bytes_after * 20 <= done.live_bytes * 23, "{done:?}");
}

#[tokio::test]
async fn what_is_no_plain_table_is_refused() {
    let (_database, mut client) = with(
        "CREATE TABLE parent (id int) PARTITION BY LIST (id); CREATE VIEW seen AS SELECT 1 AS id; \
         CREATE TABLE forced (id int); ALTER TABLE forced FORCE ROW LEVEL SECURITY",
    )
    .await;
    for (table, reason) in [
        ("public.parent", "compact its partitions"),
        ("public.seen", "is no table"),
        ("public.forced", "row security"),
        ("public.absent", "there is no such table"),
    ] {
        let compact = Compact::new(table.parse().unwrap(), moving());
        let refused = run(&mut client, &compact).await.unwrap_err().to_string();
        assert!(refused.contains(reason), "{table}: {refused}");
    }
}

#[tokio::test]
async fn another_ones_maintenance_goes_first() {
    let (database, mut client) = with(BLOATED).await;
    let holder = connect(database.url()).await;
    // What a VACUUM, an anti-wraparound one too, holds on its table.
    holder.batch_execute("BEGIN; LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let compaction = compact();
    let refused = tokio::time::timeout(Duration::from_secs(4), run(&mut client, &compaction)).await;
    // It waits for its turn: nobody is cancelled, no row moves.
    assert!(refused.is_err());
    assert_eq!(text(&holder, "SELECT ctid::text FROM orders WHERE id = 3").await, "(0,3)");
    holder.batch_execute("COMMIT").await.unwrap();
    let mut client = connect(database.url()).await;
    assert!(run(&mut client, &compact()).await.unwrap().stopped.is_none());
}
