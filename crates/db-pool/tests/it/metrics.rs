//! What an exporter gets is what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use db_pool::{Pool, PoolConfig};
use db_testkit::{TestDatabase, until};
use diesel_async::SimpleAsyncConnection;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

use crate::{open, pool_config};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

/// A meter, and what it exported last.
struct Exported {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// One number of an export: a sum, or how many durations and how many seconds together.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    Number(i64),
    Durations { count: u64, seconds: f64 },
}

impl Exported {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader =
            PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_secs(3_600)).build();
        Exported { provider: SdkMeterProvider::builder().with_reader(reader).build(), exporter }
    }

    fn observe(&self, pool: &Pool, name: &'static str) {
        pool.observe_with(&self.provider.meter("test"), name);
    }

    fn export(&self) -> ResourceMetrics {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        self.exporter.get_finished_metrics().unwrap().pop().unwrap()
    }

    /// The figures of one pool, by the name of the metric and, behind a slash, the state.
    fn figures(&self, pool: &str) -> BTreeMap<String, Figure> {
        let mut figures = BTreeMap::new();
        for metric in self.export().scope_metrics().flat_map(|scope| scope.metrics()) {
            let mut add = |attributes: Vec<(String, String)>, figure: Figure| {
                let get =
                    |key: &str| attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
                if get("db.client.connection.pool.name") != Some(pool) {
                    return;
                }
                let state =
                    get("db.client.connection.state").map(|state| format!("/{state}")).unwrap_or_default();
                figures.insert(format!("{}{state}", metric.name()), figure);
            };
            let texts = |attributes: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
                attributes.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
            };
            match metric.data() {
                AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                    assert!(!sum.is_monotonic(), "{}", metric.name());
                    sum.data_points().for_each(|point| {
                        add(texts(&mut point.attributes()), Figure::Number(point.value()));
                    });
                }
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    assert!(sum.is_monotonic(), "{}", metric.name());
                    sum.data_points().for_each(|point| {
                        add(
                            texts(&mut point.attributes()),
                            Figure::Number(point.value().try_into().unwrap()),
                        );
                    });
                }
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    histogram.data_points().for_each(|point| {
                        assert_eq!(point.bounds().next(), Some(0.001), "seconds");
                        let figure = Figure::Durations { count: point.count(), seconds: point.sum() };
                        add(texts(&mut point.attributes()), figure);
                    });
                }
                other => panic!("{}: {other:?}", metric.name()),
            }
        }
        figures
    }
}

#[tokio::test]
async fn an_exporter_gets_what_the_pool_did() {
    let database = TestDatabase::empty().await.unwrap();
    let config = PoolConfig { min: 1, acquire_timeout: Duration::from_millis(200), ..pool_config(2) };
    let (pool, other) = (open(database.url(), config), open(database.url(), pool_config(9)));
    let exported = Exported::new();
    exported.observe(&pool, "ours");
    exported.observe(&other, "other");
    exported.observe(&pool, "twice");

    let (mut first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    first.batch_execute("SELECT pg_sleep(0.2)").await.unwrap();
    assert!(pool.get().await.is_err(), "both are in use");
    let mut waiting = Box::pin(pool.get());
    assert!(futures_util::poll!(&mut waiting).is_pending());

    let figures = exported.figures("ours");
    let number = |name: &str| match figures.get(name) {
        Some(Figure::Number(number)) => *number,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(number("db.client.connection.count/used"), 2);
    assert_eq!(number("db.client.connection.count/idle"), 0);
    assert_eq!(number("db.client.connection.max"), 2);
    assert_eq!(number("db.client.connection.idle.min"), 1);
    assert_eq!(number("db.client.connection.pending_requests"), 1);
    assert_eq!(number("db.client.connection.timeouts"), 1);
    assert_eq!(number("db_pool_acquires"), 2);
    assert!(!figures.contains_key("db.client.connection.use_time"), "none came back yet");

    first.batch_execute("SET work_mem = '1MB'").await.unwrap();
    drop(first);
    drop(waiting.await.unwrap());
    until("it is reset", async || pool.status().salvages == 1).await;
    let figures = exported.figures("ours");
    let durations = |name: &str| match figures.get(name) {
        Some(Figure::Durations { count, seconds }) => (*count, *seconds),
        other => panic!("{name}: {other:?}"),
    };
    let (created, createseconds) = durations("db.client.connection.create_time");
    assert!(created <= 2 && createseconds > 0.0, "those opened before it was observed are not recorded");
    assert_eq!(durations("db.client.connection.wait_time").0, 3);
    let (used, useseconds) = durations("db.client.connection.use_time");
    assert_eq!(used, 2);
    assert!((0.2..30.0).contains(&useseconds), "{useseconds} s");
    assert_eq!(figures["db_pool_salvages"], Figure::Number(1));
    assert_eq!(figures["db.client.connection.count/idle"], Figure::Number(1));

    assert_eq!(exported.figures("other")["db.client.connection.max"], Figure::Number(9));
    assert!(exported.figures("twice").is_empty());
    drop((pool, second));
    let after = exported.figures("ours");
    assert!(!after.contains_key("db.client.connection.count/used"), "a pool that is gone has no connections");
}

#[tokio::test]
async fn the_page_lists_every_metric_with_its_unit() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), pool_config(1));
    let exported = Exported::new();
    exported.observe(&pool, "any");
    drop(pool.get().await.unwrap());
    let page = std::fs::read_to_string(PAGE).unwrap();
    let metrics = exported.export();
    let mut names = 0;
    for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
        let row = format!("| `{}` |", metric.name());
        let listed = page.lines().find(|line| line.starts_with(&row));
        let listed = listed.unwrap_or_else(|| panic!("{row} is missing: {}", metric.description()));
        assert!(listed.contains(&format!("| {} |", metric.unit())), "{listed}");
        names += 1;
    }
    assert!(names >= 14, "{names}");
    assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), 15, "rows that nothing exports");
}
