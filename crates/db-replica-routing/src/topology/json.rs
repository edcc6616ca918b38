//! What the router sees, as JSON: durations in seconds, servers as `host:port`.

use db_core::Role;
use serde::Serialize;
use serde::Serializer;

use super::{NodeStatus, Topology};
use crate::counts::ReadCounts;

#[derive(Serialize)]
struct Seen<'a> {
    writer: Option<String>,
    conflict: Option<&'a str>,
    nodes: &'a [NodeStatus],
    reads: Reads,
    waiting: usize,
    failovers: u64,
    last_failover_seconds: Option<f64>,
    last_failover_lacks_bytes: Option<u64>,
    lost_bytes: u64,
    conflicts: u64,
}

#[derive(Serialize)]
struct Node<'a> {
    server: String,
    zone: Option<&'a str>,
    up: bool,
    role: Option<&'static str>,
    fenced: bool,
    withheld: bool,
    ejected: bool,
    ejections: u64,
    timeline: Option<u32>,
    lag_seconds: Option<f64>,
    lag_bytes: Option<u64>,
    latency_seconds: f64,
    servers: usize,
    trouble: Option<&'a str>,
    reads: Reads,
    in_use: usize,
}

#[derive(Serialize)]
struct Reads {
    fresh: u64,
    token: u64,
    token_after_wait: u64,
    token_fallback: u64,
    fallback: u64,
    primary: u64,
}

impl From<ReadCounts> for Reads {
    fn from(counts: ReadCounts) -> Self {
        let ReadCounts { fresh, token, token_after_wait, token_fallback, fallback, primary } = counts;
        Reads { fresh, token, token_after_wait, token_fallback, fallback, primary }
    }
}

/// Durations in seconds, servers as `host:port`.
impl Serialize for Topology {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seen = Seen {
            writer: self.writer.as_ref().map(ToString::to_string),
            conflict: self.conflict.as_deref(),
            nodes: &self.nodes,
            reads: self.reads.into(),
            waiting: self.waiting,
            failovers: self.failovers,
            last_failover_seconds: self.last_failover.map(|took| took.as_secs_f64()),
            last_failover_lacks_bytes: self.last_failover_lacks_bytes,
            lost_bytes: self.lost_bytes,
            conflicts: self.conflicts,
        };
        seen.serialize(serializer)
    }
}

/// Durations in seconds, the server as `host:port`.
impl Serialize for NodeStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = Node {
            server: self.endpoint.to_string(),
            zone: self.zone.as_deref(),
            up: self.is_up(),
            role: self.role.map(|role| if role == Role::Primary { "primary" } else { "standby" }),
            fenced: self.fenced,
            withheld: self.withheld,
            ejected: self.ejected,
            ejections: self.ejections,
            timeline: self.timeline,
            lag_seconds: self.lag.map(|lag| lag.as_secs_f64()),
            lag_bytes: self.lag_bytes,
            latency_seconds: self.latency.as_secs_f64(),
            servers: self.servers,
            trouble: self.trouble.as_deref(),
            reads: self.reads.into(),
            in_use: self.in_flight,
        };
        node.serialize(serializer)
    }
}
