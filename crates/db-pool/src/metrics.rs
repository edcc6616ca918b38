//! The pool's figures as OpenTelemetry metrics, by the semantic conventions for database clients where these
//! have a name.
//!
//! Counts are read when the exporter asks; durations are recorded as they happen. docs/metrics.md lists them
//! all.

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::inner::Inner;
use crate::{Pool, Status};

/// In seconds, as the conventions advise for durations of database clients.
const BOUNDARIES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// A number of now: name, unit, meaning, and how it is read.
type Level = (&'static str, &'static str, &'static str, fn(&Status, &Inner) -> usize);
/// A number that only grows: name, unit, meaning, and how it is read.
type Total = (&'static str, &'static str, &'static str, fn(&Status) -> u64);

const LEVELS: [Level; 4] = [
    ("db.client.connection.max", "{connection}", "The most connections that may be open.", |status, _| {
        status.max
    }),
    ("db.client.connection.idle.min", "{connection}", "Connections that are kept open.", |_, inner| {
        inner.config.min
    }),
    (
        "db.client.connection.pending_requests",
        "{request}",
        "Callers that wait for a connection.",
        |status, _| status.waiting,
    ),
    ("db_pool_creating", "{connection}", "Connections that are being opened.", |status, _| status.creating),
];

const TOTALS: [Total; 7] = [
    ("db.client.connection.timeouts", "{timeout}", "Callers that got no connection in time.", |status| {
        status.timeouts
    }),
    ("db_pool_acquires", "{connection}", "Connections handed out.", |status| status.acquires),
    ("db_pool_destroys", "{connection}", "Connections closed.", |status| status.destroys),
    ("db_pool_connect_errors", "{attempt}", "Attempts to open a connection that failed.", |status| {
        status.connect_errors
    }),
    ("db_pool_salvages", "{connection}", "Connections that came back unclean and were cleaned.", |status| {
        status.salvages
    }),
    (
        "db_pool_abandoned",
        "{connection}",
        "Connections that came back unclean and had to be closed.",
        |status| status.abandoned,
    ),
    ("db_pool_leaks", "{connection}", "Connections that were held for too long.", |status| status.leaks),
];

impl Pool {
    /// Reports everything that the pool knows of itself to `meter`, from now on, under a name of its own.
    ///
    /// `name` tells the pools of a process apart (`db.client.connection.pool.name`). A pool is observed once:
    /// later calls do nothing.
    pub fn observe_with(&self, meter: &Meter, name: impl Into<String>) {
        let inner = &self.inner;
        let pool = KeyValue::new("db.client.connection.pool.name", name.into());
        let timings = [
            ("wait_time", "How long callers waited for a connection.", &inner.counters.waits),
            ("use_time", "How long connections were held.", &inner.counters.holds),
            ("create_time", "How long it took to open connections.", &inner.counters.creates),
        ];
        for (name, meaning, histogram) in timings {
            let instrument = Instrument {
                recorded_by: meter
                    .f64_histogram(format!("db.client.connection.{name}"))
                    .with_unit("s")
                    .with_description(meaning)
                    .with_boundaries(BOUNDARIES.to_vec())
                    .build(),
                attributes: [pool.clone()],
            };
            if histogram.instrument.set(instrument).is_err() {
                return;
            }
        }
        observe_count(meter, Arc::downgrade(inner), &pool);
        for (name, unit, meaning, read) in LEVELS {
            let (inner, attributes) = (Arc::downgrade(inner), [pool.clone()]);
            let _ = meter
                .i64_observable_up_down_counter(name)
                .with_unit(unit)
                .with_description(meaning)
                .with_callback(move |observer| {
                    let Some(inner) = inner.upgrade() else { return };
                    observer.observe(signed(read(&inner.status(), &inner)), &attributes);
                })
                .build();
        }
        for (name, unit, meaning, read) in TOTALS {
            let (inner, attributes) = (Arc::downgrade(inner), [pool.clone()]);
            let _ = meter
                .u64_observable_counter(name)
                .with_unit(unit)
                .with_description(meaning)
                .with_callback(move |observer| {
                    let Some(inner) = inner.upgrade() else { return };
                    observer.observe(read(&inner.status()), &attributes);
                })
                .build();
        }
    }
}

/// Open connections by their state; one that is being cleaned is in use.
fn observe_count(meter: &Meter, inner: Weak<Inner>, pool: &KeyValue) {
    let in_state = |state| [pool.clone(), KeyValue::new("db.client.connection.state", state)];
    let (idle, used) = (in_state("idle"), in_state("used"));
    let _ = meter
        .i64_observable_up_down_counter("db.client.connection.count")
        .with_unit("{connection}")
        .with_description("Open connections, idle or used.")
        .with_callback(move |observer| {
            let Some(inner) = inner.upgrade() else { return };
            let status = inner.status();
            observer.observe(signed(status.idle), &idle);
            observer.observe(signed(status.open.saturating_sub(status.idle)), &used);
        })
        .build();
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Where durations of one kind are recorded, and for which pool.
pub(crate) struct Instrument {
    recorded_by: Histogram<f64>,
    attributes: [KeyValue; 1],
}

impl Instrument {
    pub(crate) fn record(&self, duration: Duration) {
        self.recorded_by.record(duration.as_secs_f64(), &self.attributes);
    }
}
