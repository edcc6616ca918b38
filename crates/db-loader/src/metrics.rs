//! A loader's figures as OpenTelemetry metrics; docs/metrics.md lists them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::counts::{Counters, LoadCounts};

/// In seconds.
const DURATIONS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 10.0];

/// In keys.
const SIZES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 500.0, 1_000.0];

/// What is recorded as it happens.
#[derive(Debug)]
pub(crate) struct Instruments {
    sizes: Histogram<u64>,
    durations: Histogram<f64>,
    name: [KeyValue; 1],
}

impl Instruments {
    pub(crate) fn record(&self, keys: usize, elapsed: Duration) {
        self.sizes.record(keys as u64, &self.name);
        self.durations.record(elapsed.as_secs_f64(), &self.name);
    }
}

/// A number that only grows: its name, unit and meaning, and its figures by an attribute.
type Metric = (&'static str, &'static str, &'static str, fn(&LoadCounts) -> Vec<(u64, Option<KeyValue>)>);

const TOTALS: [Metric; 6] = [
    ("db.loader.loads", "{load}", "Keys that were asked for, by where the answer came from.", |counts| {
        let queued = counts.loads.saturating_sub(counts.remembered).saturating_sub(counts.joined);
        by("source", [("memo", counts.remembered), ("joined", counts.joined), ("queued", queued)])
    }),
    ("db.loader.batches", "{batch}", "Batches, by how they ended.", |counts| {
        let LoadCounts { succeeded, failed, panicked, timed_out, .. } = *counts;
        let all =
            [("succeeded", succeeded), ("failed", failed), ("panicked", panicked), ("timed_out", timed_out)];
        by("outcome", all)
    }),
    ("db.loader.keys", "{key}", "Keys that went to a batch function.", |counts| vec![(counts.keys, None)]),
    ("db.loader.missing", "{key}", "Keys that the batch function did not find.", |counts| {
        vec![(counts.missing, None)]
    }),
    ("db.loader.unasked", "{key}", "Keys that were answered although nobody had asked.", |counts| {
        vec![(counts.unasked, None)]
    }),
    (
        "db.loader.abandoned",
        "{key}",
        "Keys that nobody waited for any more when the batch closed.",
        |counts| vec![(counts.abandoned, None)],
    ),
];

/// Reports to `meter` what these counters count and record, from now on, under this name. Later calls do
/// nothing.
pub(crate) fn observe(meter: &Meter, name: &'static str, counters: &Arc<Counters>) {
    let name = KeyValue::new("db.loader.name", name);
    let sizes = meter.u64_histogram("db.loader.batch.size").with_unit("{key}");
    let durations = meter.f64_histogram("db.loader.batch.duration").with_unit("s");
    let instruments = Instruments {
        sizes: sizes.with_description("Keys in a batch.").with_boundaries(SIZES.to_vec()).build(),
        durations: durations
            .with_description("How long a batch function ran.")
            .with_boundaries(DURATIONS.to_vec())
            .build(),
        name: [name.clone()],
    };
    if counters.instruments.set(instruments).is_err() {
        return;
    }
    for (metric, unit, meaning, figures) in TOTALS {
        // It keeps no loader alive.
        let (counters, name) = (Arc::downgrade(counters), name.clone());
        let builder = meter.u64_observable_counter(metric).with_unit(unit).with_description(meaning);
        let reported = builder.with_callback(move |instrument| {
            let Some(counters) = counters.upgrade() else { return };
            for (value, by) in figures(&counters.read()) {
                let attributes: Vec<_> = [name.clone()].into_iter().chain(by).collect();
                instrument.observe(value, &attributes);
            }
        });
        let _ = reported.build();
    }
}

fn by<const N: usize>(key: &'static str, figures: [(&'static str, u64); N]) -> Vec<(u64, Option<KeyValue>)> {
    figures.into_iter().map(|(value, count)| (count, Some(KeyValue::new(key, value)))).collect()
}
