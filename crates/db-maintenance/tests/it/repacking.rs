//! REPACK (CONCURRENTLY), where the server has it, and what forbids it.

use std::future::pending;

use db_maintenance::compact::{Compact, CompactConfig};
use db_testkit::{Cluster, skip};
use tokio_postgres::Client;

use crate::database::{connect, texts};

const BLOATED: &str = "CREATE TABLE orders (id int PRIMARY KEY, body text); \
    CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''seen''; END'; \
    INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 60000) AS n; \
    DELETE FROM orders WHERE id % 3 <> 0; \
    CREATE TRIGGER seen BEFORE INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION never(); \
    CREATE PUBLICATION everyone FOR TABLE orders";

async fn with(sql: &str) -> Option<(Cluster, Client)> {
    let cluster = skip::without(Cluster::builder().version(19).standbys(0).start().await)?;
    let client = connect(&cluster.primary_url()).await;
    client.batch_execute(sql).await.unwrap();
    client.batch_execute("VACUUM (ANALYZE, TRUNCATE off)").await.unwrap();
    Some((cluster, client))
}

fn compact(table: &str) -> Compact {
    Compact::new(table.parse().unwrap(), CompactConfig::default())
}

#[tokio::test]
async fn the_server_makes_a_bloated_table_small_and_no_trigger_or_subscriber_sees_it() {
    let Some((_cluster, mut client)) = with(BLOATED).await else { return };
    let content = "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM public.orders AS o";
    let before = texts(&client, content).await;
    let plan = compact("public.orders").plan(&mut client).await.unwrap();
    assert!(plan.repacks && plan.refusals.is_empty(), "{plan:?}");
    let done = compact("public.orders").run(&mut client, None, pending(), |_| ()).await.unwrap();
    assert!(done.stopped.is_none() && done.bytes_after * 5 < done.bytes_before * 2, "{done:?}");
    assert_eq!(texts(&client, content).await, before);
    // Moving rows is the way where REPACK is not wanted, and is seen by both.
    let rows = CompactConfig { repack: false, ..CompactConfig::default() };
    let rows = Compact::new("public.orders".parse().unwrap(), rows).plan(&mut client).await.unwrap();
    assert!(!rows.repacks && rows.refusals.len() == 2, "{rows:?}");
}

#[tokio::test]
async fn what_the_server_would_refuse_is_said_before_with_the_way_out() {
    let sql = "CREATE TABLE keyless (a int); CREATE UNLOGGED TABLE unlogged (a int PRIMARY KEY); \
        CREATE TABLE deferred (a int PRIMARY KEY DEFERRABLE); \
        CREATE TABLE whole (a int PRIMARY KEY); ALTER TABLE whole REPLICA IDENTITY FULL; \
        CREATE TABLE invalid (a int PRIMARY KEY, b int); CREATE INDEX half ON invalid (b); \
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half'::regclass; \
        CREATE TABLE named (a int NOT NULL); CREATE UNIQUE INDEX named_a ON named (a); \
        ALTER TABLE named REPLICA IDENTITY USING INDEX named_a";
    let Some((_cluster, mut client)) = with(sql).await else { return };
    for (table, reason) in [
        ("keyless", "it has no primary key"),
        ("unlogged", "it is unlogged"),
        ("deferred", "it has no primary key that is not deferrable"),
        ("whole", "its replica identity is FULL"),
        ("invalid", "its index half is INVALID"),
    ] {
        let plan = compact(&format!("public.{table}")).plan(&mut client).await.unwrap();
        assert!(plan.refusals.iter().any(|why| why.contains(reason)), "{table}: {plan:?}");
        // And the server does refuse it.
        let repack = format!("REPACK (CONCURRENTLY) public.{table}");
        client.batch_execute(&repack).await.unwrap_err();
    }
    assert_eq!(compact("public.named").plan(&mut client).await.unwrap().refusals, Vec::<String>::new());
    client.batch_execute("REPACK (CONCURRENTLY) public.named").await.unwrap();
}

#[tokio::test]
async fn a_session_that_would_see_the_table_empty_forbids_it_by_its_number() {
    let Some((cluster, mut client)) = with(BLOATED).await else { return };
    let holder = connect(&cluster.primary_url()).await;
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let named = format!("session {pid} ");
    let refused = loop {
        let plan = compact("public.orders").plan(&mut client).await.unwrap();
        if !plan.refusals.is_empty() {
            break plan.refusals;
        }
        tokio::task::yield_now().await;
    };
    assert!(refused[0].contains(&named), "{refused:?}");
    // What it is spared: without the refusal it sees nothing of 20,000 rows.
    client.batch_execute("REPACK (CONCURRENTLY) public.orders").await.unwrap();
    assert_eq!(texts(&holder, "SELECT count(*)::text FROM public.orders").await, ["0"]);
}

#[tokio::test]
async fn a_reader_who_keeps_the_table_makes_nobody_wait_and_leaves_it_as_it_was() {
    let Some((cluster, mut client)) = with(BLOATED).await else { return };
    let (holder, other) = (connect(&cluster.primary_url()).await, connect(&cluster.primary_url()).await);
    holder.batch_execute("BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE").await.unwrap();
    let compaction = compact("public.orders");
    let stop = async {
        // The copy is made, and the swap has not got its lock at least once.
        let mut worst = std::time::Duration::ZERO;
        for _ in 0..300 {
            let began = std::time::Instant::now();
            other.batch_execute("SELECT FROM orders WHERE id = 3").await.unwrap();
            worst = worst.max(began.elapsed());
        }
        worst
    };
    let told = std::sync::Mutex::new(std::time::Duration::MAX);
    let probes = connect(&cluster.primary_url()).await;
    let stop = async { *told.lock().unwrap() = stop.await };
    let done = compaction.run(&mut client, Some(&probes), stop, |_| ()).await.unwrap();
    assert!(done.stopped.is_some_and(|why| why.contains("as it was")), "it was told to stop");
    assert_eq!(done.bytes_after, done.bytes_before);
    // A statement waits behind the swap no longer than the swap waits.
    let worst = *told.lock().unwrap();
    assert!(worst < std::time::Duration::from_millis(500), "{worst:?}");
    assert_eq!(texts(&other, "SELECT count(*)::text FROM pg_replication_slots").await, ["0"]);
}
