//! Services that boot at once.

use std::sync::Arc;
use std::time::Instant;

use db_migrations::Migrator;
use db_testkit::TestDatabase;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::fixture::{migrator, number, reference, runtime};
use crate::{Figure, Size};

const SERVICES: usize = 32;

#[derive(Default)]
pub(crate) struct Storm {
    pub(crate) failed: Vec<String>,
    deadlocks: i64,
    /// Migrations that did not run exactly once.
    miscounted: usize,
    slowest_ms: f64,
}

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 20 } else { 10 };
    let storm = runtime().block_on(async {
        let mut storm = Storm::default();
        for round in 0..rounds {
            one(&mut storm, false).await;
            one(&mut storm, true).await;
            eprintln!("migrations-1: round {} of {rounds}", round + 1);
        }
        storm
    });
    let wrong = storm.failed.len() as f64 + storm.deadlocks as f64 + storm.miscounted as f64;
    Figure {
        value: wrong,
        unit: "failed boots, deadlocks and miscounted migrations",
        holds: wrong == 0.0,
        detail: json!({
            "services": SERVICES,
            "rounds": rounds * 2,
            "failed": storm.failed,
            "deadlocks": storm.deadlocks,
            "miscounted": storm.miscounted,
            "slowest_boot_ms": storm.slowest_ms,
        }),
    }
}

async fn one(storm: &mut Storm, half: bool) {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let all = migrator(reference());
    let mut expected = reference().iter().count();
    if half {
        all.apply(&mut conn, |_| ()).await.unwrap();
        expected /= 2;
        all.undo(&mut conn, expected, |_| ()).await.unwrap();
    }
    let ran = boot_all(storm, database.url(), all).await;
    let recorded = "SELECT count(*) AS n FROM __diesel_schema_migrations";
    let recorded = number(&mut conn, recorded).await as usize;
    storm.miscounted += ran.abs_diff(expected) + recorded.abs_diff(reference().iter().count());
    let deadlocks = "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()";
    storm.deadlocks += number(&mut conn, deadlocks).await;
}

/// Boots all services at the same moment; says how many migrations they ran together.
pub(crate) async fn boot_all(storm: &mut Storm, url: &str, migrator: Migrator) -> usize {
    let barrier = Arc::new(Barrier::new(SERVICES));
    let mut boots = JoinSet::new();
    for _ in 0..SERVICES {
        let (migrator, barrier) = (migrator.clone(), Arc::clone(&barrier));
        let mut conn = AsyncPgConnection::establish(url).await.unwrap();
        boots.spawn(async move {
            barrier.wait().await;
            let started = Instant::now();
            let steps = migrator.apply(&mut conn, |_| ()).await;
            (steps.map(|steps| steps.len()), started.elapsed())
        });
    }
    let mut ran = 0;
    while let Some(boot) = boots.join_next().await {
        let (steps, took) = boot.unwrap();
        storm.slowest_ms = storm.slowest_ms.max(took.as_secs_f64() * 1_000.0);
        match steps {
            Ok(steps) => ran += steps,
            Err(error) => storm.failed.push(error.to_string()),
        }
    }
    ran
}
