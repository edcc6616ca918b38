//! How nodes are watched, and how stale a read may be.

use std::time::Duration;

/// How nodes are watched, and how stale a read may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterConfig {
    /// The lag up to which a standby answers ordinary reads.
    pub max_lag: Duration,
    /// The pause between two probes of one node.
    pub probe_interval: Duration,
    /// The longest that one probe may take; a node that does not answer in time counts as down.
    pub probe_timeout: Duration,
}

impl Default for RouterConfig {
    fn default() -> Self {
        RouterConfig {
            max_lag: Duration::from_secs(10),
            probe_interval: Duration::from_millis(500),
            probe_timeout: Duration::from_secs(1),
        }
    }
}
