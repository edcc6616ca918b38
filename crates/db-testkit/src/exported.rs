//! What a meter exports, for tests of what a program reports to OpenTelemetry.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

/// Longer than any test: it exports when it is asked to, and never by itself.
const INTERVAL: Duration = Duration::from_secs(86_400);

/// A meter whose exports a test reads.
#[derive(Debug)]
pub struct Exported {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// One data point of an export.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Figure {
    /// The metric's name.
    pub name: String,
    /// The metric's kind.
    pub kind: Kind,
    /// The metric's unit.
    pub unit: String,
    /// What tells this point apart from the metric's others.
    pub attributes: BTreeMap<String, String>,
    /// The number; of a histogram the sum of all that was recorded.
    pub value: f64,
    /// Of a histogram how many were recorded, else 1.
    pub count: u64,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that adds up over the points.
    UpDownCounter,
    /// A number that does not.
    Gauge,
    /// What was recorded, in buckets.
    Histogram,
}

impl Default for Exported {
    fn default() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).with_interval(INTERVAL).build();
        Exported { provider: SdkMeterProvider::builder().with_reader(reader).build(), exporter }
    }
}

impl Exported {
    /// The meter to report to.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter("test")
    }

    /// Exports now, and returns all of it.
    ///
    /// # Panics
    /// When the SDK cannot export.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        self.exporter.reset();
        let flushed = self.provider.force_flush();
        assert!(flushed.is_ok(), "the SDK exports nothing: {flushed:?}");
        let exports = self.exporter.get_finished_metrics().unwrap_or_default();
        let scopes = exports.iter().flat_map(ResourceMetrics::scope_metrics);
        scopes.flat_map(|scope| scope.metrics()).flat_map(figures).collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::UpDownCounter => "up-down counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        })
    }
}

fn figures(metric: &Metric) -> Vec<Figure> {
    match metric.data() {
        AggregatedMetrics::F64(data) => of(metric, data, |number| number),
        AggregatedMetrics::I64(data) => of(metric, data, |number| number as f64),
        AggregatedMetrics::U64(data) => of(metric, data, |number| number as f64),
    }
}

fn of<T: Copy>(metric: &Metric, data: &MetricData<T>, float: fn(T) -> f64) -> Vec<Figure> {
    let figure = |kind, attributes: &mut dyn Iterator<Item = &KeyValue>, value, count| Figure {
        name: metric.name().to_owned(),
        kind,
        unit: metric.unit().to_owned(),
        attributes: attributes.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect(),
        value: float(value),
        count,
    };
    match data {
        MetricData::Sum(sum) => {
            let kind = if sum.is_monotonic() { Kind::Counter } else { Kind::UpDownCounter };
            sum.data_points().map(|point| figure(kind, &mut point.attributes(), point.value(), 1)).collect()
        }
        MetricData::Gauge(gauge) => gauge
            .data_points()
            .map(|point| figure(Kind::Gauge, &mut point.attributes(), point.value(), 1))
            .collect(),
        MetricData::Histogram(histogram) => histogram
            .data_points()
            .map(|point| figure(Kind::Histogram, &mut point.attributes(), point.sum(), point.count()))
            .collect(),
        MetricData::ExponentialHistogram(histogram) => histogram
            .data_points()
            .map(|point| {
                let count = u64::try_from(point.count()).unwrap_or(u64::MAX);
                figure(Kind::Histogram, &mut point.attributes(), point.sum(), count)
            })
            .collect(),
    }
}
