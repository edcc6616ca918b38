//! What watching a statement costs: by itself, in allocations, and on the whole way of `SELECT 1`.

use std::hint::black_box;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_platform::core::{Caller, Checkout, Endpoint, Observe, QueryEvent};
use db_platform::monitoring::{Monitor, MonitoringConfig};
use db_platform::{Config, Db, Environment};
use db_testkit::TestDatabase;
use db_testkit::claims::{Figure, Size};
use diesel::sql_types::Integer;
use diesel::{IntoSql, select};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;

use crate::median::median;

const LIMIT_NS: f64 = 200.0;
const LIMIT_RATIO: f64 = 1.03;
/// Statements of a service that come in turns.
const STATEMENTS: usize = 50;
/// A batch is short: most of them end before the system gives the core to another process.
const BATCH: usize = 2 * STATEMENTS;
/// Reads of one half of a pair.
const READS: usize = 100;

pub(crate) fn measure(size: Size) -> Figure {
    let (batches, pairs) = if size == Size::Nightly { (20_000, 300) } else { (2_000, 60) };
    let best = (0..3).map(|_| nanoseconds(batches)).fold(f64::INFINITY, f64::min);
    let allocations = allocations();
    let mut ratios = tokio::runtime::Runtime::new().unwrap().block_on(ratios(pairs));
    let (ratio, interval) = median(&mut ratios);
    Figure {
        value: best,
        unit: "ns a statement, best of three medians",
        holds: best <= LIMIT_NS && allocations == 0 && ratio <= LIMIT_RATIO,
        detail: json!({
            "allocations_in_10000": allocations, "select_1_ratio": ratio, "interval": interval, "pairs": pairs,
            "statements": STATEMENTS,
        }),
    }
}

/// What a pool tells an observer, of several statements in turns.
struct Told {
    monitor: Monitor,
    endpoint: Endpoint,
    caller: Caller,
    texts: Vec<String>,
}

impl Told {
    fn new() -> Self {
        // As diesel writes them: about 200 characters.
        let text = |table| {
            format!(
                "SELECT \"t{table}\".\"id\", \"t{table}\".\"email\", \"t{table}\".\"status\", \"t{table}\".\"created_at\" \
                 FROM \"t{table}\" WHERE ((\"t{table}\".\"status\" = $1) AND (\"t{table}\".\"deleted_at\" IS NULL)) \
                 ORDER BY \"t{table}\".\"id\" LIMIT $2"
            )
        };
        Told {
            monitor: Monitor::new(MonitoringConfig::default()),
            endpoint: Endpoint::new("db", 5432),
            caller: Caller::now(Checkout(1), Location::caller()),
            texts: (0..STATEMENTS).map(text).collect(),
        }
    }

    /// Tells so many statements.
    fn tell(&self, observer: &Arc<dyn Observe>, count: usize, sent: Instant) {
        for text in self.texts.iter().cycle().take(count) {
            let elapsed = Duration::from_micros(300);
            let mut event = QueryEvent::new(&self.endpoint, text, sent, elapsed);
            event.caller = Some(&self.caller);
            (event.rows, event.bytes, event.first_row) = (Some(20), Some(2_000), Some(elapsed));
            observer.on_query(black_box(&event));
        }
    }
}

fn nanoseconds(batches: usize) -> f64 {
    let told = Told::new();
    let observer = told.monitor.observer();
    told.tell(&observer, STATEMENTS, Instant::now());
    let mut times: Vec<f64> = (0..batches)
        .map(|_| {
            let begun = Instant::now();
            told.tell(&observer, BATCH, begun);
            begun.elapsed().as_nanos() as f64 / BATCH as f64
        })
        .collect();
    assert_eq!(told.monitor.statements().len(), STATEMENTS);
    median(&mut times).0
}

fn allocations() -> u64 {
    let told = Told::new();
    let observer = told.monitor.observer();
    told.tell(&observer, STATEMENTS, Instant::now());
    allocation_counter::measure(|| told.tell(&observer, 10_000, Instant::now())).count_total
}

/// How long reads take that are watched, against others, in pairs.
async fn ratios(pairs: usize) -> Vec<f64> {
    let database = TestDatabase::empty().await.unwrap();
    let connect = async |enabled| {
        let mut config = Config::new(Environment::Production, database.url().parse().unwrap());
        config.monitoring.enabled = enabled;
        // What is measured is the statement's own way: nobody else uses the server.
        config.monitoring.collect_every = None;
        config.cache = None;
        Db::connect(config).await.unwrap()
    };
    let (watched, plain) = (connect(true).await, connect(false).await);
    let mut ratios = Vec::new();
    for pair in 0..pairs + 5 {
        let (first, second) = if pair % 2 == 0 { (&watched, &plain) } else { (&plain, &watched) };
        let (first, second) = (reads(first).await, reads(second).await);
        ratios.push(if pair % 2 == 0 { first / second } else { second / first });
    }
    // The first pairs prepare and grow what later ones find.
    ratios.split_off(5)
}

/// The seconds that some reads take.
async fn reads(db: &Db) -> f64 {
    let started = Instant::now();
    for _ in 0..READS {
        let one = async |conn: &mut AsyncPgConnection| {
            select(1.into_sql::<Integer>()).get_result::<i32>(conn).await
        };
        assert_eq!(db.read(one).await.unwrap(), 1);
    }
    started.elapsed().as_secs_f64()
}
