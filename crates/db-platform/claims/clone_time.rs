//! How long a test database of the reference schema takes to clone, on PostgreSQL 15.
//!
//! The line to remove: `TEMPLATE "{template}"` in `create` of db-testkit's hub.rs makes clones without the
//! schema; `get_or_try_init` in template.rs, which makes the template once, makes each as slow as the
//! migrations.
#![expect(
    clippy::print_stdout,
    reason = "what a run of its own found goes to the parent through standard output"
)]

use std::process::{Command, ExitCode};
use std::time::Instant;

use db_migrations::{MigrationError, Migrations, Migrator, MigratorConfig};
use db_testkit::TestDatabase;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::{Figure, Size};

/// The word that makes this program measure one run: the test kit reads its server's version from the
/// environment.
pub(crate) const CHILD: &str = "clone-time";

const RUNS: usize = 3;
const LIMIT_MS: f64 = 60.0;

pub(crate) fn measure(size: Size) -> Figure {
    let mut runs: Vec<Value> = Vec::new();
    for _ in 0..RUNS {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CHILD).env("DB_TESTKIT_PG", "15").env_remove("DB_TESTKIT_URL");
        if size == Size::Nightly {
            command.arg("--nightly");
        }
        let output = command.output().unwrap();
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        runs.push(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
    }
    let medians = runs.iter().filter_map(|run| run["median_ms"].as_f64());
    let best = medians.fold(f64::INFINITY, f64::min);
    Figure { value: best, unit: "ms", holds: best <= LIMIT_MS, detail: json!({ "runs": runs }) }
}

pub(crate) fn child(size: Size) -> ExitCode {
    let clones = if size == Size::Nightly { 200 } else { 30 };
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let migrations = Migrations::read(directory.as_ref()).unwrap();
    let hash = migrations.content_hash();
    let migrator = Migrator::new(migrations, MigratorConfig::default());
    let migrate = async |conn: &mut AsyncPgConnection| migrator.apply(conn, |_| ()).await.map(|_| ());
    let mut times: Vec<f64> = tokio::runtime::Runtime::new().unwrap().block_on(async {
        // The first one makes the template.
        TestDatabase::from_template::<MigrationError>(&hash, migrate).await.unwrap();
        let mut times = Vec::new();
        for _ in 0..clones {
            let started = Instant::now();
            let database = TestDatabase::from_template::<MigrationError>(&hash, migrate).await.unwrap();
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
            let mut conn = database.connect().await.unwrap();
            conn.batch_execute("TABLE users LIMIT 1").await.unwrap();
            drop(database);
        }
        times
    });
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{}", json!({ "clones": clones, "median_ms": at(0.5), "p95_ms": at(0.95) }));
    ExitCode::SUCCESS
}
