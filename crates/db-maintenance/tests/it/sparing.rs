//! Upkeep is in nobody's way: readers on standbys, transactions that would wait for it, a disk without room.

use std::process::Command;

use db_maintenance::routine::{BloatedIndex, BloatedTable, Routine, RoutineReport};
use db_testkit::{Cluster, skip, until};
use tokio_postgres::Client;

use crate::database::{connect, texts, with};

const ORDERS: &str = "CREATE TABLE orders (id int PRIMARY KEY, note text) WITH (autovacuum_enabled = off); \
    INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 60000) n; \
    CREATE INDEX orders_note ON orders (note); DELETE FROM orders WHERE id % 3 <> 0; \
    CREATE TABLE late (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off); \
    INSERT INTO late SELECT n, 1 FROM generate_series(1, 20000) n";

fn bloated() -> Routine {
    let index = "public.orders_note".parse().unwrap();
    let table = "public.orders".parse().unwrap();
    Routine {
        bloated: vec![BloatedIndex { index, bytes: 16 << 20, bloat_percent: 66.0 }],
        bloated_tables: vec![BloatedTable { table, bytes: 16 << 20, bloat_percent: 66.0 }],
        ..Routine::default()
    }
}

async fn apply(routine: &Routine, client: &mut Client) -> RoutineReport {
    let report = routine.apply(client, None).await.unwrap();
    client.batch_execute("RESET search_path").await.unwrap();
    report
}

async fn caught_up(client: &Client, standby: &Client) {
    let position = texts(client, "SELECT pg_current_wal_flush_lsn()::text").await.remove(0);
    let sql = format!("SELECT (pg_last_wal_replay_lsn() >= '{position}')::text");
    until("the standby has replayed it", async || texts(standby, &sql).await == ["true"]).await;
}

#[tokio::test]
async fn a_reader_on_a_standby_reads_on_while_upkeep_works() {
    // The standby would cancel a reader at once.
    let builder = Cluster::builder().standbys(1).setting("max_standby_streaming_delay", "0");
    let cluster = builder.setting("hot_standby_feedback", "on").start().await.unwrap();
    let mut client = connect(&cluster.primary_url()).await;
    client.batch_execute(ORDERS).await.unwrap();
    client.batch_execute("VACUUM (ANALYZE, TRUNCATE off) orders; ").await.unwrap();
    client.batch_execute("UPDATE late SET n = 2 WHERE id <= 15000").await.unwrap();
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let standby = connect(&cluster.standby_urls()[0]).await;
    caught_up(&client, &standby).await;
    let reader = connect(&cluster.standby_urls()[0]).await;
    let read = "SELECT count(*) FROM orders WHERE note = md5('3'); SELECT count(*) FROM late";
    reader.batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {read}")).await.unwrap();
    // Feedback is sent with the next status.
    let held = "SELECT (xmin IS NOT NULL)::text FROM pg_replication_slots";
    until("the standby has sent its oldest snapshot", async || texts(&client, held).await == ["true"]).await;
    let report = apply(&bloated(), &mut client).await;
    assert!(report.done.iter().any(|done| done.starts_with("vacuum public.late")), "{report:?}");
    let held: Vec<String> = report.held.iter().map(|held| held.name.to_string()).collect();
    assert_eq!(held, ["public.orders_note", "public.orders"], "{report:?}");
    assert!(report.held.iter().all(|held| held.why.contains("--cancel-standby-readers")), "{report:?}");
    caught_up(&client, &standby).await;
    reader.batch_execute(&format!("{read}; COMMIT")).await.unwrap();

    // It is what was held that would have cancelled it.
    reader.batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {read}")).await.unwrap();
    let allowed = Routine { cancel_standby_readers: true, bloated_tables: Vec::new(), ..bloated() };
    let report = apply(&allowed, &mut client).await;
    assert!(report.done.iter().any(|done| done.starts_with("reindex")), "{report:?}");
    caught_up(&client, &standby).await;
    reader.batch_execute(read).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_application_and_upkeep_that_wait_for_each_other_upkeep_gives_up() {
    let (database, mut client) = with(ORDERS).await;
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let application = connect(database.url()).await;
    application.batch_execute("BEGIN; UPDATE orders SET note = 'x' WHERE id = 3").await.unwrap();
    let other = connect(database.url()).await;
    let upkeep = tokio::spawn(async move {
        let routine = Routine { bloated_tables: Vec::new(), ..bloated() };
        let report = apply(&routine, &mut client).await;
        (report, client)
    });
    // The new index is there: REINDEX waits for the application's transaction.
    let waits = "SELECT 'x' FROM pg_locks WHERE locktype = 'virtualxid' AND NOT granted";
    until("upkeep waits", async || !texts(&other, waits).await.is_empty()).await;
    // And now the application waits for upkeep's lock.
    application.batch_execute("LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE; COMMIT").await.unwrap();
    let (report, client) = upkeep.await.unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(texts(&client, "SELECT note FROM orders WHERE id = 3").await, ["x"]);
    let left = "SELECT relname::text FROM pg_class WHERE relname LIKE 'orders_note_cc%'";
    assert_eq!(texts(&client, left).await, Vec::<String>::new());
}

/// A file system of its own that is as large as this.
struct Small(tempfile::TempDir);

impl Small {
    fn mounted() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs"]).arg(dir.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Small(dir)),
            _ => None,
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn a_disk_without_room_ends_a_task_and_harms_nothing() {
    let Some(small) = Small::mounted() else {
        return skip::this_test("a small file system cannot be mounted here");
    };
    let cluster = Cluster::builder().standbys(0).start().await.unwrap();
    let mut client = connect(&cluster.primary_url()).await;
    let inner = small.0.path().join("space");
    let inside = inner.display();
    client
        .batch_execute(&format!("COPY (SELECT 1) TO PROGRAM 'mkdir -m 700 {inside} && cat > /dev/null'"))
        .await
        .unwrap();
    client.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{inside}'")).await.unwrap();
    let sql = "CREATE TABLE orders (id int, note text) WITH (autovacuum_enabled = off) TABLESPACE small; \
        INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 60000) n; \
        CREATE INDEX orders_note ON orders (note) TABLESPACE small; \
        CREATE TABLE filler TABLESPACE small AS SELECT repeat(md5(n::text), 20) FROM generate_series(1, \
        22500) n";
    client.batch_execute(sql).await.unwrap();
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let routine = Routine { bloated_tables: Vec::new(), ..bloated() };
    let report = apply(&routine, &mut client).await;
    assert!(report.done.is_empty() && report.left.len() == 1, "{report:?}");
    assert!(report.left[0].contains("the disk is full"), "{report:?}");
    // What was begun is gone, the index is as it was, and with room it is done.
    let indexes = "SELECT string_agg(relname || indisvalid::text, ' ') FROM pg_class JOIN pg_index ON \
        indexrelid = oid WHERE relname LIKE 'orders_note%'";
    assert_eq!(texts(&client, indexes).await, ["orders_notetrue"]);
    client.batch_execute("DROP TABLE filler; CHECKPOINT").await.unwrap();
    let report = apply(&routine, &mut client).await;
    assert!(report.done[0].starts_with("reindex public.orders_note"), "{report:?}");
}
