//! Whether requests can be served, by what the router saw last.

use std::time::Duration;

use super::{NodeStatus, Topology};

/// Whether this process can serve requests that need the database.
///
/// ```
/// # fn answer(topology: &db_replica_routing::Topology) -> u16 {
/// if topology.readiness().reads { 200 } else { 503 }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Readiness {
    /// Whether reads are answered: by the primary or a standby.
    pub reads: bool,
    /// Whether writes are taken.
    pub writes: bool,
    /// Why not. Never a password.
    pub why: Option<String>,
}

impl Topology {
    /// Whether requests can be served.
    pub fn readiness(&self) -> Readiness {
        let writes = self.writer.is_some();
        let reads = writes || self.nodes.iter().any(NodeStatus::is_up);
        Readiness { reads, writes, why: (!writes).then(|| self.why_no_writer()) }
    }

    /// How long the node that takes writes lets its monitor wait for answers; where there is none, or where
    /// it does not answer, why. Never a password.
    ///
    /// # Errors
    /// Why no server takes writes, or what its last probe ran into.
    pub fn writer_answers_in(&self) -> Result<Duration, String> {
        match self.writer.as_ref().and_then(|writer| self.node(writer)) {
            Some(NodeStatus { trouble: Some(trouble), .. }) => Err(trouble.clone()),
            Some(node) => Ok(node.latency),
            None => Err(self.why_no_writer()),
        }
    }

    fn why_no_writer(&self) -> String {
        if let Some(conflict) = &self.conflict {
            return conflict.clone();
        }
        let troubles: Vec<&str> = self.nodes.iter().filter_map(|node| node.trouble.as_deref()).collect();
        match troubles.as_slice() {
            [] => "no server takes writes".to_owned(),
            troubles => format!("no server takes writes: {}", troubles.join("; ")),
        }
    }
}
