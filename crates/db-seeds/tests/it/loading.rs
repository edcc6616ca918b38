//! What is loaded, and that it is loaded once and whole.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use db_seeds::{Progress, SeedOptions, Seeds, Status};

use crate::database::{connect, count, load, migrated, options, scaled, set, sets};

#[tokio::test]
async fn every_set_of_the_repository_loads_and_leaves_the_rows_it_planned() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    // All three in one database: their keys do not collide.
    for (name, scale) in [("test", 1.0), ("dev", 1.0), ("staging", 0.01)] {
        let seeds = Seeds::open(sets(), name).unwrap();
        let before: Vec<i64> = counts(&client, &seeds).await;
        let (plan, applied) = load(&seeds, &mut client, &scaled(scale)).await.unwrap();
        assert_eq!(applied.rows, plan.rows(), "{name}");
        assert!(!applied.already);
        let after = counts(&client, &seeds).await;
        for ((table, before), after) in plan.tables.iter().zip(before).zip(after) {
            assert_eq!((after - before) as u64, table.rows, "{name}: {}", table.table);
        }
    }
    check_integrity(&client).await;
}

async fn counts(client: &tokio_postgres::Client, seeds: &Seeds) -> Vec<i64> {
    let plan = seeds.plan(client, &options()).await.unwrap();
    let mut counts = Vec::new();
    for table in &plan.tables {
        counts.push(count(client, &table.table).await);
    }
    counts
}

/// What no constraint of the schema says, because it cannot or because it would cost too much.
async fn check_integrity(client: &tokio_postgres::Client) {
    let none = [
        "events e WHERE NOT EXISTS (SELECT FROM events p WHERE p.aggregate_type = e.aggregate_type
            AND p.aggregate_id = e.aggregate_id AND p.version = e.version - 1) AND e.version > 1",
        "(SELECT aggregate_id FROM events GROUP BY 1 HAVING count(DISTINCT organization_id) > 1) o",
        "notification_deliveries d WHERE NOT EXISTS (SELECT FROM notifications n
            WHERE n.id = d.notification_id AND n.recipient_id = d.recipient_id)",
        "events e WHERE user_id IS NOT NULL AND NOT EXISTS (SELECT FROM user_organizations m
            WHERE m.user_id = e.user_id AND m.organization_id = e.organization_id)",
    ];
    for violation in none {
        assert_eq!(count(client, violation).await, 0, "{violation}");
    }
}

#[tokio::test]
async fn the_second_time_there_is_nothing_to_do() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    let seeds = Seeds::open(sets(), "staging").unwrap();
    let (plan, _) = load(&seeds, &mut client, &scaled(0.001)).await.unwrap();
    assert_eq!(plan.status, Status::Load);
    let events = count(&client, "events").await;
    let again = seeds.plan(&client, &scaled(0.001)).await.unwrap();
    assert!(matches!(again.status, Status::AlreadyApplied { .. }), "{again}");
    // Also where the plan is older than the first load.
    for plan in [plan, again] {
        let applied = seeds.apply(&mut client, &plan, |_| {}).await.unwrap();
        assert!(applied.already);
        assert_eq!(applied.rows, 0);
    }
    assert_eq!(count(&client, "events").await, events);
}

#[tokio::test]
async fn two_runs_at_once_load_the_set_once() {
    let database = migrated().await;
    let (mut one, mut two) = (connect(&database).await, connect(&database).await);
    let seeds = Seeds::open(sets(), "test").unwrap();
    let plan = seeds.plan(&one, &options()).await.unwrap();
    let (one, two) = tokio::join!(seeds.apply(&mut one, &plan, |_| {}), seeds.apply(&mut two, &plan, |_| {}));
    assert_ne!(one.unwrap().already, two.unwrap().already);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_rows_and_another_seed_others() {
    let digest = async |seed| {
        let database = migrated().await;
        let mut client = connect(&database).await;
        let seeds = Seeds::open(sets(), "staging").unwrap();
        let options = SeedOptions { seed: Some(seed), scale: 0.001, ..options() };
        load(&seeds, &mut client, &options).await.unwrap();
        let query = "SELECT md5(string_agg(e::text, '|' ORDER BY id)) FROM events e";
        let digest: String = client.query_one(query, &[]).await.unwrap().get(0);
        digest
    };
    let first = digest(1).await;
    assert_eq!(first, digest(1).await);
    assert_ne!(first, digest(2).await);
}

#[tokio::test]
async fn progress_ends_with_all_rows_of_each_table() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    for name in ["dev", "staging"] {
        let seeds = Seeds::open(sets(), name).unwrap();
        let plan = seeds.plan(&client, &scaled(0.002)).await.unwrap();
        let mut last: Vec<(String, u64)> = Vec::new();
        let progress = |Progress { table, rows_done, .. }: Progress<'_>| match last.last_mut() {
            Some((known, done)) if known == table => *done = rows_done,
            _ => last.push((table.to_owned(), rows_done)),
        };
        seeds.apply(&mut client, &plan, progress).await.unwrap();
        let planned: Vec<_> = plan.tables.iter().map(|table| (table.table.clone(), table.rows)).collect();
        assert_eq!(last, planned);
    }
}

#[tokio::test]
async fn a_load_that_is_killed_midway_leaves_nothing() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    let watcher = connect(&database).await;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let seeds = Seeds::open(sets(), "staging").unwrap();
    let plan = seeds.plan(&client, &scaled(0.02)).await.unwrap();
    let (kill, killed) = tokio::sync::oneshot::channel();
    let mut kill = Some(kill);
    let load = seeds.apply(&mut client, &plan, |progress| {
        if progress.table == "events"
            && let Some(kill) = kill.take()
        {
            kill.send(()).unwrap();
        }
    });
    let killer = async {
        killed.await.unwrap();
        watcher.execute("SELECT pg_terminate_backend($1, 10000)", &[&pid]).await.unwrap();
    };
    let (loaded, ()) = tokio::join!(load, killer);
    loaded.unwrap_err();
    assert_empty(&watcher).await;
}

#[tokio::test]
async fn a_load_that_is_dropped_midway_leaves_nothing() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    let seeds = Seeds::open(sets(), "staging").unwrap();
    let plan = seeds.plan(&client, &scaled(0.005)).await.unwrap();
    let dropped = std::cell::Cell::new(false);
    {
        let mut load = pin!(seeds.apply(&mut client, &plan, |progress| {
            dropped.set(progress.table == "events");
        }));
        std::future::poll_fn(|context| match load.as_mut().poll(context) {
            _ if dropped.get() => std::task::Poll::Ready(()),
            poll => poll.map(|_| panic!("the load ended before it was dropped")),
        })
        .await;
        // The future is still alive and waiting here; leaving the block drops it.
        assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    // The same connection is usable: the rollback is queued before this statement.
    assert_empty(&client).await;
    let (_, applied) = load(&seeds, &mut client, &scaled(0.005)).await.unwrap();
    assert!(!applied.already);
}

async fn assert_empty(client: &tokio_postgres::Client) {
    assert_eq!(count(client, "organizations").await, 0);
    assert_eq!(count(client, "events").await, 0);
    let ledger = "pg_class WHERE relname = 'db_seeds'";
    assert_eq!(count(client, ledger).await, 0);
}

#[tokio::test]
async fn an_empty_field_is_null_and_a_quoted_one_is_the_empty_text() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    client.batch_execute("CREATE TABLE pairs (a text, b text)").await.unwrap();
    let dir = set(&[("10_pairs.csv", "a,b\n,\"\"\n\"x\ny\",\"say \"\"hi\"\"\"\n")]);
    load(&Seeds::open(dir.path(), "made").unwrap(), &mut client, &options()).await.unwrap();
    let read = "SELECT string_agg(format('%L %L', a, b), '; ' ORDER BY a NULLS FIRST) FROM pairs";
    let read: String = client.query_one(read, &[]).await.unwrap().get(0);
    assert_eq!(read, "NULL ''; 'x\ny' 'say \"hi\"'");
}
