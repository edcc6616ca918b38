//! What the router sees, as a printable value.

#[cfg(feature = "serde")]
mod json;
#[cfg(feature = "panels")]
mod panel;
mod readiness;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use db_core::{Endpoint, Role};

use crate::cluster::{Cluster, Leader};
use crate::counts::ReadCounts;
use crate::node::Node;

pub use readiness::Readiness;

/// What the router sees.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Topology {
    /// The node that takes writes, where there is one.
    pub writer: Option<Endpoint>,
    /// Why no node takes writes although two claim to.
    pub conflict: Option<String>,
    /// The nodes, in the order in which they became known.
    pub nodes: Vec<NodeStatus>,
    /// The reads of all nodes.
    pub reads: ReadCounts,
    /// Callers that wait for a node that takes writes.
    pub waiting: usize,
    /// How often another node became the writer.
    pub failovers: u64,
    /// How long there was no writer, the last time that another node became it.
    pub last_failover: Option<Duration>,
    /// How many bytes of the old writer's log the new one lacked then, at least: what was committed there is
    /// lost. None where that is not known.
    pub last_failover_lacks_bytes: Option<u64>,
    /// The same of all failovers so far, in bytes.
    pub lost_bytes: u64,
    /// How often two nodes claimed to be the writer.
    pub conflicts: u64,
}

/// What the router sees of one node.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The zone that it stands in.
    pub zone: Option<String>,
    /// The role that it says it has; none while it is down.
    pub role: Option<Role>,
    /// Whether it is an old primary that must not be written to.
    pub fenced: bool,
    /// Whether it answers no reads as a standby, by its configuration or by Patroni's tag `noloadbalance`.
    pub withheld: bool,
    /// Whether it gets no reads for a while although it is up.
    pub ejected: bool,
    /// How often that happened.
    pub ejections: u64,
    /// The timeline that it is on, where it tells.
    pub timeline: Option<u32>,
    /// How far it is behind in time, where that is known.
    pub lag: Option<Duration>,
    /// How far it is behind in bytes of log, where that is known.
    pub lag_bytes: Option<u64>,
    /// The mean of its recent latencies.
    pub latency: Duration,
    /// Whether its name leads to several servers, by its configuration or by what was seen.
    pub leads_to_several: bool,
    /// The servers behind its name that are asked, where it leads to several; else 1.
    pub servers: usize,
    /// Why its last probe failed; none after one that succeeded. A server that is up may still refuse the
    /// monitor's login: then its role is the last one known.
    pub trouble: Option<String>,
    /// Reads that it was chosen for so far, and why.
    pub reads: ReadCounts,
    /// How often its monitor has asked it.
    pub probes: u64,
    /// How long its next probe may take, by the round trips that were measured.
    pub probe_deadline: Duration,
    /// How often it did so early because a read waited for the node to catch up.
    pub token_probes: u64,
    /// Connections to it that are in use now.
    pub in_flight: usize,
}

impl NodeStatus {
    /// Whether it answered its last probe.
    pub fn is_up(&self) -> bool {
        self.role.is_some()
    }
}

impl Topology {
    pub(crate) fn of<A>(cluster: &Cluster<A>) -> Self {
        let (writer, conflict) = match &*cluster.leader.borrow() {
            Leader::Node(node) => (Some(node.endpoint().clone()), None),
            Leader::Conflict(text) => (None, Some(text.clone())),
            Leader::Nobody(_) => (None, None),
        };
        let nodes: Vec<NodeStatus> =
            cluster.nodes.now().iter().map(|node| NodeStatus::of(cluster, node)).collect();
        let last_failover = cluster.counts.last_failover();
        Topology {
            writer,
            conflict,
            reads: nodes.iter().map(|node| node.reads).sum(),
            nodes,
            waiting: cluster.for_writer.waiting(),
            failovers: cluster.counts.failovers(),
            last_failover: last_failover.map(|(took, _)| took),
            last_failover_lacks_bytes: last_failover.and_then(|(_, lacks)| lacks),
            lost_bytes: cluster.counts.lost_bytes(),
            conflicts: cluster.counts.conflicts(),
        }
    }

    /// The status of the node at this place.
    pub fn node(&self, endpoint: &Endpoint) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| node.endpoint == *endpoint)
    }
}

impl NodeStatus {
    fn of<A>(cluster: &Cluster<A>, node: &Node<A>) -> Self {
        let sighting = node.seen.borrow().up();
        let position = sighting.filter(|sighting| sighting.role == Role::Standby).and_then(|s| s.position);
        NodeStatus {
            endpoint: node.endpoint().clone(),
            zone: node.config.zone.clone(),
            role: sighting.map(|sighting| sighting.role),
            fenced: AtomicBool::load(&node.fenced, Ordering::Relaxed),
            withheld: node.is_withheld(),
            ejected: node.ejection.is_active(),
            ejections: node.ejection.count(),
            timeline: sighting.map(|sighting| sighting.timeline).filter(|timeline| *timeline > 0),
            lag: sighting.and_then(|sighting| sighting.lag),
            lag_bytes: cluster
                .written()
                .zip(position)
                .map(|(written, position)| written.bytes_since(position)),
            latency: Duration::from_secs_f32(node.vitals.probe_micros() / 1e6),
            leads_to_several: node.leads_to_several(),
            servers: node.servers(),
            trouble: node.trouble(),
            reads: node.reads.counted(),
            probes: AtomicU64::load(&node.probes, Ordering::Relaxed),
            probe_deadline: Duration::from_micros(AtomicU64::load(&node.probe_deadline, Ordering::Relaxed)),
            token_probes: AtomicU64::load(&node.token_probes, Ordering::Relaxed),
            in_flight: AtomicUsize::load(&node.in_flight, Ordering::Relaxed),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.writer, &self.conflict) {
            (Some(writer), _) => write!(f, "writes go to {writer}")?,
            (None, Some(conflict)) => write!(f, "no writes: {conflict}")?,
            (None, None) => f.write_str("no writes: no node takes them")?,
        }
        for node in &self.nodes {
            write!(f, "\n{node}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        match (self.role, self.lag) {
            (None, _) => {
                write!(f, " down{}", self.trouble.as_ref().map(|t| format!(" ({t})")).unwrap_or_default())?;
            }
            (Some(Role::Primary), _) if self.fenced => f.write_str(" old primary, fenced")?,
            (Some(Role::Primary), _) => f.write_str(" primary")?,
            // The clocks and the probes know no less than that.
            (Some(Role::Standby), Some(lag)) if lag < Duration::from_millis(1) => {
                f.write_str(" standby, up to date")?
            }
            (Some(Role::Standby), Some(lag)) => write!(f, " standby, {lag:.1?} behind")?,
            (Some(Role::Standby), None) => f.write_str(" standby, lag unknown")?,
        }
        if self.servers > 1 {
            write!(f, ", {} servers by turns", self.servers)?;
        }
        if self.withheld {
            f.write_str(", kept from reads")?;
        }
        if self.ejected {
            f.write_str(", out of use for a while")?;
        }
        write!(f, ", {} reads", self.reads.total())
    }
}
