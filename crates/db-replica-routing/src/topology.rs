//! What the router sees, as a printable value.

use std::fmt;
use std::time::Duration;

use db_core::{Endpoint, Role};

/// What the router sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The primary first, then the standbys in the order of the configuration.
    pub nodes: Vec<NodeStatus>,
}

/// What the router sees of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The role that it was configured with.
    pub configured: Role,
    /// The role that it says it has; none while it is down.
    pub role: Option<Role>,
    /// How far it is behind, where that is known.
    pub lag: Option<Duration>,
    /// Why its last probe failed; none after one that succeeded.
    pub trouble: Option<String>,
    /// Reads that it was chosen for so far.
    pub reads: u64,
    /// Reads that run on it now.
    pub in_flight: usize,
}

impl NodeStatus {
    /// Whether it answered its last probe.
    pub fn is_up(&self) -> bool {
        self.role.is_some()
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            let NodeStatus { endpoint, configured, role, lag, trouble, reads, .. } = node;
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{endpoint} {configured}")?;
            match (role, lag) {
                (None, _) => {
                    write!(f, ", down{}", trouble.as_ref().map(|t| format!(" ({t})")).unwrap_or_default())?
                }
                (Some(role), _) if role != configured => write!(f, ", now a {role}")?,
                (Some(_), Some(lag)) => write!(f, ", {lag:?} behind")?,
                (Some(_), None) => f.write_str(", lag unknown")?,
            }
            write!(f, ", {reads} reads")?;
        }
        Ok(())
    }
}
