//! Each online change of a table of a million rows, beside an application that reads and writes it.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_migrations::backfill::{Backfill, BackfillConfig, Fill};
use db_migrations::online_change::OnlineChange;
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::fixture::{migrations, migrator, number, runtime};
use crate::{Figure, Size};

const ROWS: u32 = 1_000_000;
const MOST: Duration = Duration::from_millis(100);
const CLIENTS: u64 = 4;

const SCHEMA: &str = "DROP SCHEMA public CASCADE; CREATE SCHEMA public; \
    CREATE TABLE teams (id int PRIMARY KEY); INSERT INTO teams SELECT generate_series(0, 999); \
    CREATE TABLE people (id int PRIMARY KEY, team int DEFAULT 1, code text, amount int NOT NULL DEFAULT 5, \
    touched int NOT NULL DEFAULT 0); \
    INSERT INTO people SELECT n, n % 1000, 'c' || n, n FROM generate_series(1, 1000000) AS n";

fn changes() -> Vec<(&'static str, OnlineChange)> {
    let (table, column) = (|| "people".to_owned(), |column: &str| column.to_owned());
    vec![
        ("not null", OnlineChange::NotNull { table: table(), column: column("team") }),
        (
            "foreign key",
            OnlineChange::ForeignKey {
                table: table(),
                columns: vec![column("team")],
                references: "teams".to_owned(),
                on_delete: None,
            },
        ),
        ("unique", OnlineChange::Unique { table: table(), columns: vec![column("code")] }),
        (
            "type",
            OnlineChange::Type {
                table: table(),
                column: column("amount"),
                to: "bigint".to_owned(),
                using: None,
            },
        ),
        ("backfill", OnlineChange::SwapType { table: table(), column: column("amount") }),
        ("old type", OnlineChange::EndType { table: table(), column: column("amount") }),
        ("rename", OnlineChange::Rename { table: table(), to: "persons".to_owned() }),
    ]
}

pub(crate) fn measure(size: Size) -> Figure {
    let runs = if size == Size::Nightly { 3 } else { 2 };
    runtime().block_on(async {
        let cluster = Cluster::builder().start().await.unwrap();
        let url = cluster.primary_url();
        let mut shown = Vec::new();
        let (mut best, mut right) = (Duration::MAX, true);
        for _ in 0..runs {
            let (worst, each, as_wanted) = all(&url).await;
            eprintln!("maintenance-8: worst statement {worst:?}, {each:?}");
            best = best.min(worst);
            right &= as_wanted;
            shown.push(json!({ "worst_ms": worst.as_secs_f64() * 1_000.0, "each": each }));
        }
        Figure {
            value: best.as_secs_f64() * 1_000.0,
            unit: "ms",
            holds: right && best <= MOST,
            detail: json!({ "rows": ROWS, "runs": shown, "changed_as_wanted": right }),
        }
    })
}

/// Makes all changes in turn: the worst statement of the application, that of each change, and whether all
/// is as it should be.
async fn all(url: &str) -> (Duration, Vec<(String, f64)>, bool) {
    let mut conn = AsyncPgConnection::establish(url).await.unwrap();
    conn.batch_execute(SCHEMA).await.unwrap();
    conn.batch_execute("VACUUM (ANALYZE) people").await.unwrap();
    conn.batch_execute("CHECKPOINT").await.unwrap();
    let (mut each, mut worst) = (Vec::new(), Duration::ZERO);
    let mut files = Vec::new();
    for (place, (name, change)) in changes().into_iter().enumerate() {
        let slowest = beside(url, async {
            if name == "backfill" {
                let backfill = Backfill::new("people", [Fill::new("amount_new", "amount::bigint")]);
                let probes = AsyncPgConnection::establish(url).await.unwrap();
                let config = BackfillConfig::default();
                let outcome =
                    backfill.run(&mut conn, Some(probes), &config, pending(), |_| ()).await.unwrap();
                assert_eq!(outcome.unfilled.left, Some(0), "{outcome:?}");
            }
            let made = change.files(&mut conn).await.unwrap();
            let name = |file: &str| format!("{}_{}/{file}", place + 1, made.name);
            files.push((name("up.sql"), made.up.clone()));
            let all: Vec<(&str, &str)> =
                files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            migrator(migrations(&all)).apply(&mut conn, |_| ()).await.unwrap();
        })
        .await;
        worst = worst.max(slowest);
        each.push((name.to_owned(), slowest.as_secs_f64() * 1_000.0));
    }
    let wanted = "SELECT count(*) AS n FROM pg_attribute WHERE attrelid = 'persons'::regclass AND (attname = \
        'team' AND \
                  attnotnull OR attname = 'amount' AND atttypid = 'int8'::regtype AND attnotnull)";
    let constraints = "SELECT count(*) AS n FROM pg_constraint WHERE conrelid = 'persons'::regclass AND \
        convalidated \
                       AND contype IN ('f', 'u', 'c')";
    let sum = "SELECT (sum(amount) = 500000500000)::int::bigint AS n FROM persons WHERE id <= 1000000";
    let right = number(&mut conn, wanted).await == 2
        && number(&mut conn, constraints).await == 2
        && number(&mut conn, sum).await == 1;
    (worst, each, right)
}

/// The slowest statement of the application while something is done.
async fn beside(url: &str, work: impl Future<Output = ()>) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let mut conn = AsyncPgConnection::establish(url).await.unwrap();
        let stop = Arc::clone(&stop);
        clients.push(tokio::spawn(async move {
            let (mut random, mut slowest) = (StdRng::seed_from_u64(client), Duration::ZERO);
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                let id = random.random_range(1..=ROWS);
                let new = random.random_range(2_000_000..2_000_000_000);
                let sql = match random.random_range(0..8) {
                    0 | 1 => format!("UPDATE people SET touched = touched + 1 WHERE id = {id}"),
                    2 => format!(
                        "INSERT INTO people (id, code) VALUES ({new}, 'n{new}') ON CONFLICT DO NOTHING"
                    ),
                    _ => format!("SELECT * FROM people WHERE id = {id}"),
                };
                let started = Instant::now();
                conn.batch_execute(&sql).await.unwrap();
                slowest = slowest.max(started.elapsed());
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
            slowest
        }));
    }
    work.await;
    stop.store(true, Ordering::Relaxed);
    let mut slowest = Duration::ZERO;
    for client in clients {
        slowest = slowest.max(client.await.unwrap());
    }
    slowest
}
