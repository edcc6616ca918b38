//! The router's figures as OpenTelemetry metrics.
//!
//! All but the durations of failovers are read when the exporter asks. docs/metrics.md lists them.

use std::sync::Arc;

use db_core::Role;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use crate::router::Router;
use crate::topology::{NodeStatus, Topology};

/// In seconds: from a switchover among warm connections to an election that waits for a dead machine's lease.
const BOUNDARIES: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A metric: name, unit, meaning, and what it reports of the topology.
type Metric<T> = (&'static str, &'static str, &'static str, fn(&Topology, &dyn AsyncInstrument<T>));

/// Numbers that only grow.
const TOTALS: [Metric<u64>; 5] = [
    (
        "db_replica_routing_reads",
        "{read}",
        "Reads that a node was chosen for, by why.",
        |topology, observer| {
            for node in &topology.nodes {
                for (reason, count) in by_reason(node) {
                    observer.observe(count, &attributes(node, "reason", reason));
                }
            }
        },
    ),
    (
        "db_replica_routing_ejections",
        "{ejection}",
        "How often a standby was taken out of use although it was up.",
        |topology, observer| {
            for node in &topology.nodes {
                observer.observe(node.ejections, &address(node));
            }
        },
    ),
    (
        "db_replica_routing_failovers",
        "{failover}",
        "How often another node became the writer.",
        |topology, observer| observer.observe(topology.failovers, &[]),
    ),
    (
        "db_replica_routing_lost_log",
        "By",
        "Log of old writers that the nodes lacked which took over, at least.",
        |topology, observer| observer.observe(topology.lost_bytes, &[]),
    ),
    (
        "db_replica_routing_conflicts",
        "{conflict}",
        "How often two nodes claimed to be the writer.",
        |topology, observer| observer.observe(topology.conflicts, &[]),
    ),
];

/// Numbers of now.
const LEVELS: [Metric<i64>; 2] = [
    ("db_replica_routing_nodes", "{node}", "Nodes by their state.", |topology, observer| {
        for node in &topology.nodes {
            let is = state(topology, node);
            for state in STATES {
                observer.observe(i64::from(state == is), &attributes(node, "state", state));
            }
        }
    }),
    (
        "db_replica_routing_pending_requests",
        "{request}",
        "Callers that wait for a node that takes writes.",
        |topology, observer| observer.observe(i64::try_from(topology.waiting).unwrap_or(i64::MAX), &[]),
    ),
];

const LAG: Metric<f64> =
    ("db_replica_routing_lag", "s", "How far a standby is behind the writer.", |topology, observer| {
        let standbys = topology.nodes.iter().filter(|node| node.role == Some(Role::Standby));
        for (node, lag) in standbys.filter_map(|node| Some((node, node.lag?))) {
            observer.observe(lag.as_secs_f64(), &address(node));
        }
    });

const LAG_BYTES: Metric<u64> = (
    "db_replica_routing_lag_bytes",
    "By",
    "How much of the writer's log a standby has not replayed.",
    |topology, observer| {
        for (node, lag) in topology.nodes.iter().filter_map(|node| Some((node, node.lag_bytes?))) {
            observer.observe(lag, &address(node));
        }
    },
);

/// Every node is in one of them.
const STATES: [&str; 5] = ["writer", "standby", "ejected", "fenced", "down"];

impl<A: Send + Sync + 'static> Router<A> {
    /// Reports everything that the router knows to `meter`, from now on. A router is observed once: later
    /// calls do nothing.
    pub fn observe_with(&self, meter: &Meter) {
        let durations = meter
            .f64_histogram("db_replica_routing_failover_duration")
            .with_unit("s")
            .with_description("How long there was no writer, when another node became it.")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        if self.inner.cluster.counts.instrument.set(durations).is_err() {
            return;
        }
        for metric in TOTALS {
            let (name, unit, meaning, _) = metric;
            let builder = meter.u64_observable_counter(name).with_unit(unit).with_description(meaning);
            let _ = builder.with_callback(self.reports(metric)).build();
        }
        for metric in LEVELS {
            let (name, unit, meaning, _) = metric;
            let builder =
                meter.i64_observable_up_down_counter(name).with_unit(unit).with_description(meaning);
            let _ = builder.with_callback(self.reports(metric)).build();
        }
        let (name, unit, meaning, _) = LAG;
        let builder = meter.f64_observable_gauge(name).with_unit(unit).with_description(meaning);
        let _ = builder.with_callback(self.reports(LAG)).build();
        let (name, unit, meaning, _) = LAG_BYTES;
        let builder = meter.u64_observable_gauge(name).with_unit(unit).with_description(meaning);
        let _ = builder.with_callback(self.reports(LAG_BYTES)).build();
    }

    /// What a metric's callback does. It keeps no router alive.
    fn reports<T: 'static>(
        &self,
        (.., report): Metric<T>,
    ) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + use<A, T> {
        let inner = Arc::downgrade(&self.inner);
        move |observer| {
            if let Some(inner) = inner.upgrade() {
                report(&Topology::of(&inner.cluster), observer);
            }
        }
    }
}

fn by_reason(node: &NodeStatus) -> [(&'static str, u64); 6] {
    let reads = node.reads;
    [
        ("fresh", reads.fresh),
        ("token", reads.token),
        ("token_after_wait", reads.token_after_wait),
        ("token_fallback", reads.token_fallback),
        ("fallback", reads.fallback),
        ("primary", reads.primary),
    ]
}

fn state(topology: &Topology, node: &NodeStatus) -> &'static str {
    match node.role {
        None => "down",
        Some(Role::Primary) if topology.writer.as_ref() == Some(&node.endpoint) => "writer",
        Some(Role::Primary) => "fenced",
        Some(Role::Standby) if node.ejected => "ejected",
        Some(Role::Standby) => "standby",
    }
}

/// The node's address, by the conventions' names.
fn address(node: &NodeStatus) -> [KeyValue; 2] {
    [
        KeyValue::new("server.address", node.endpoint.host().to_owned()),
        KeyValue::new("server.port", i64::from(node.endpoint.port())),
    ]
}

fn attributes(node: &NodeStatus, name: &'static str, value: &'static str) -> [KeyValue; 3] {
    let [host, port] = address(node);
    [host, port, KeyValue::new(name, value)]
}
