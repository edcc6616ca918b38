//! Routine upkeep names what was planted and nothing else, and mends it.

use std::time::Duration;

use db_maintenance::routine::{BloatedIndex, Routine};
use tokio_postgres::Client;

use crate::database::{connect, texts, with};

const ORDERS: &str = "CREATE TABLE orders (id int PRIMARY KEY, customer int, note text) WITH \
    (autovacuum_enabled = off); \
    CREATE TABLE calm (id int PRIMARY KEY) WITH (autovacuum_enabled = off); \
    INSERT INTO orders SELECT n, n % 100, md5(n::text) FROM generate_series(1, 20000) n; \
    INSERT INTO calm SELECT generate_series(1, 1000)";

/// What counters say is seen only after they were written.
async fn quiet(client: &Client) {
    // What was counted and not written yet would be written after the vacuum.
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
}

async fn names(routine: &Routine, client: &mut Client) -> Vec<String> {
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let plan = routine.plan(client).await.unwrap();
    client.batch_execute("RESET search_path").await.unwrap();
    plan.tasks.iter().map(|task| format!("{} {}", task.kind, task.name)).collect()
}

#[tokio::test]
async fn what_is_planted_is_named_and_mended_and_nothing_else() {
    let (_database, mut client) = with(ORDERS).await;
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) AS n FROM orders GROUP BY 1; \
             CREATE UNIQUE INDEX ON totals (customer); \
             CREATE MATERIALIZED VIEW big AS SELECT * FROM totals WHERE n > 10; CREATE UNIQUE INDEX ON \
             big (customer); \
             COMMENT ON MATERIALIZED VIEW big IS 'of the board'",
        )
        .await
        .unwrap();
    quiet(&client).await;
    let routine = Routine::default();
    assert_eq!(names(&routine, &mut client).await, ["refresh public.totals", "refresh public.big"]);
    let report = routine.apply(&mut client, None).await.unwrap();
    client.batch_execute("RESET search_path").await.unwrap();
    assert!(report.failed.is_empty() && report.done.len() == 2, "{report:?}");
    assert_eq!(names(&routine, &mut client).await, Vec::<String>::new(), "they are fresh now");

    // Stale statistics, dead rows, and what a build that failed left.
    client.batch_execute("UPDATE orders SET note = 'x' WHERE id <= 15000").await.unwrap();
    client
        .batch_execute("INSERT INTO orders SELECT n, 1, 'x' FROM generate_series(20001, 21000) n")
        .await
        .unwrap();
    client
        .batch_execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'calm_pkey'::regclass")
        .await
        .unwrap();
    let planted = names(&routine, &mut client).await;
    let expected =
        ["vacuum public.orders", "reindex public.calm_pkey", "refresh public.totals", "refresh public.big"];
    assert_eq!(planted, expected);
    let report = routine.apply(&mut client, None).await.unwrap();
    client.batch_execute("RESET search_path").await.unwrap();
    assert!(report.failed.is_empty() && report.done.len() == 4, "{report:?}");
    assert_eq!(names(&routine, &mut client).await, Vec::<String>::new());
    let said = texts(&client, "SELECT split_part(obj_description('big'::regclass), chr(10), 1)").await;
    assert_eq!(said, ["of the board"]);
    assert_eq!(texts(&client, "SELECT n::text FROM totals WHERE customer = 1").await, ["1200"]);
}

#[tokio::test]
async fn an_index_under_construction_or_one_that_waits_for_its_leaves_is_left_alone() {
    let (database, mut client) = with(&format!(
        "{ORDERS}; CREATE TABLE parts (id int) PARTITION BY RANGE (id); \
         CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (10); CREATE INDEX waits ON ONLY \
         parts (id)"
    ))
    .await;
    quiet(&client).await;
    let (reader, builder) = (connect(database.url()).await, connect(database.url()).await);
    // A build beside the load waits for transactions that write the table.
    reader.batch_execute("BEGIN; LOCK TABLE orders IN ROW EXCLUSIVE MODE").await.unwrap();
    let builds = tokio::spawn(async move {
        builder.batch_execute("CREATE INDEX CONCURRENTLY slow ON orders (customer)").await.unwrap();
    });
    while texts(&client, "SELECT 'x' FROM pg_index WHERE indexrelid = to_regclass('slow')").await.is_empty() {
        tokio::task::yield_now().await;
    }
    let plan = Routine::default().plan(&mut client).await.unwrap();
    assert!(plan.tasks.is_empty() && plan.held.len() == 2, "{plan}");
    reader.batch_execute("COMMIT").await.unwrap();
    builds.await.unwrap();
    assert!(Routine::default().plan(&mut client).await.unwrap().held.len() == 1);
}

#[tokio::test]
async fn what_fails_for_a_lasting_reason_is_said_once_and_not_tried_again() {
    let (_database, mut client) = with(ORDERS).await;
    client.batch_execute("INSERT INTO orders VALUES (30000, 1, 'twice'), (30001, 2, 'twice')").await.unwrap();
    let build = "CREATE UNIQUE INDEX CONCURRENTLY notes ON orders (note)";
    client.batch_execute(build).await.unwrap_err();
    quiet(&client).await;
    let routine = Routine::default();
    assert_eq!(names(&routine, &mut client).await, ["reindex public.notes"]);
    let report = routine.apply(&mut client, None).await.unwrap();
    assert!(report.failed[0].contains("could not create unique index"), "{report:?}");
    let plan = routine.plan(&mut client).await.unwrap();
    assert!(plan.held.iter().any(|held| held.why.contains("it failed before and will again")), "{plan}");
    assert!(plan.tasks.iter().all(|task| task.name.name != "notes"), "{plan}");
    let again = Routine { retry_failed: true, ..Routine::default() };
    assert!(names(&again, &mut client).await.contains(&"reindex public.notes".to_owned()));
}

#[tokio::test]
async fn views_that_cannot_be_refreshed_beside_readers_are_named_and_the_budget_ends_the_run() {
    let (_database, mut client) = with(ORDERS).await;
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW keyless AS SELECT * FROM orders; \
             CREATE MATERIALIZED VIEW empty AS SELECT * FROM orders WITH NO DATA; CREATE UNIQUE INDEX ON \
             empty (id)",
        )
        .await
        .unwrap();
    quiet(&client).await;
    let bloated =
        BloatedIndex { index: "public.orders_pkey".parse().unwrap(), bytes: 1 << 30, bloat_percent: 80.0 };
    let routine = Routine { budget: Duration::ZERO, bloated: vec![bloated], ..Routine::default() };
    let report = routine.apply(&mut client, None).await.unwrap();
    let held: String = report.held.iter().map(|held| format!("{}: {}\n", held.name, held.why)).collect();
    assert!(
        held.contains("public.keyless: it has no unique index")
            && held.contains("public.empty: it was never"),
        "{held}"
    );
    assert!(
        report.done.is_empty() && report.left[0].starts_with("reindex public.orders_pkey: 80 %"),
        "{report:?}"
    );
}
