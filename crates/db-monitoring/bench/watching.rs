//! What it costs to watch a statement, in nanoseconds and in allocations, against OpenTelemetry's own record
//! of one.

use std::hint::black_box;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Caller, Checkout, Endpoint, Observe, QueryEvent};
use db_monitoring::{Monitor, MonitoringConfig};
use db_testkit::Exported;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use serde_json::json;

use crate::pairs::ratio;
use crate::{PAIRS, alone, row};

/// Statements in one half of a pair.
const STATEMENTS: usize = 20_000;
/// The most that a statement whose text was seen before may take.
const LIMIT_NS: f64 = 200.0;

/// Who watches, and what it is told.
struct Watched {
    observer: Arc<dyn Observe>,
    endpoint: Endpoint,
    caller: Caller,
    texts: Vec<String>,
}

impl Watched {
    fn new(monitor: &Monitor, texts: Vec<String>) -> Self {
        Watched {
            observer: monitor.observer(),
            endpoint: Endpoint::new("db", 5432),
            caller: Caller::now(Checkout(1), Location::caller()),
            texts,
        }
    }

    /// Nanoseconds a statement.
    fn tell(&self) -> f64 {
        let began = Instant::now();
        for text in self.texts.iter().cycle().take(STATEMENTS) {
            let elapsed = Duration::from_micros(300);
            let mut event = QueryEvent::new(&self.endpoint, text, began, elapsed);
            event.caller = Some(&self.caller);
            (event.rows, event.bytes, event.first_row) = (Some(20), Some(2_000), Some(elapsed));
            self.observer.on_query(black_box(&event));
        }
        began.elapsed().as_nanos() as f64 / STATEMENTS as f64
    }
}

/// As diesel writes them: fifty texts of about 200 characters, which come again and again.
fn fixed() -> Vec<String> {
    let text = |table| {
        format!(
            "SELECT \"t{table}\".\"id\", \"t{table}\".\"email\", \"t{table}\".\"status\", \"t{table}\".\"created_at\" \
             FROM \"t{table}\" WHERE ((\"t{table}\".\"status\" = $1) AND (\"t{table}\".\"deleted_at\" IS NULL)) \
             ORDER BY \"t{table}\".\"id\" LIMIT $2"
        )
    };
    (0..50).map(text).collect()
}

/// Each text once: constants stand in it, so that it must be brought into its normal form each time.
fn changing() -> Vec<String> {
    let text = |id| {
        format!(
            "SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"status\", \"users\".\"created_at\" FROM \"users\" \
             WHERE ((\"users\".\"id\" = {id}) AND (\"users\".\"deleted_at\" IS NULL)) ORDER BY \"users\".\"id\" LIMIT 20"
        )
    };
    (0..STATEMENTS).map(text).collect()
}

/// OpenTelemetry's own record of the same figure with the same attributes, by itself.
fn record(histogram: &Histogram<f64>, attributes: &[KeyValue]) -> f64 {
    let began = Instant::now();
    for _ in 0..STATEMENTS {
        histogram.record(black_box(0.0003), black_box(attributes));
    }
    began.elapsed().as_nanos() as f64 / STATEMENTS as f64
}

pub(crate) fn compare() {
    let exported = Exported::default();
    let histogram = exported.meter().f64_histogram("peer").with_unit("s").build();
    let attributes = [
        KeyValue::new("db.system.name", "postgresql"),
        KeyValue::new("db.namespace", "shop"),
        KeyValue::new("server.address", "db"),
        KeyValue::new("db.query.summary", "SELECT users"),
        KeyValue::new("db.operation.name", "SELECT"),
        KeyValue::new("db.collection.name", "users"),
    ];
    for (what, texts, with_otel) in [
        ("fixed text", fixed(), false),
        ("text with constants", changing(), false),
        ("fixed text, with OpenTelemetry", fixed(), true),
    ] {
        let config = MonitoringConfig { log_slow_queries: false, ..MonitoringConfig::default() };
        let monitor = Monitor::new(config);
        if with_otel {
            monitor.observe_with(&exported.meter(), "shop");
        }
        let watched = Watched::new(&monitor, texts);
        // The first half pairs grow what later ones find.
        watched.tell();
        record(&histogram, &attributes);
        let pairs: Vec<_> = (0..PAIRS).map(|_| (watched.tell(), record(&histogram, &attributes))).collect();
        let all = ratio(&pairs);
        let target = if what == "fixed text" { json!("200 ns") } else { json!(null) };
        let holds = all.ours <= LIMIT_NS;
        row(&format!("watch a statement, {what}"), &all, "OpenTelemetry's record", "ns", target, holds);
        let allocations = allocation_counter::measure(|| _ = watched.tell()).count_total;
        let each = json!(allocations as f64 / STATEMENTS as f64);
        let target = if what == "fixed text" { json!("none") } else { json!(null) };
        alone(&format!("allocations a statement, {what}"), &each, "allocations", target, allocations == 0);
    }
}
