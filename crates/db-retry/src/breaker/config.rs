//! When a breaker opens, and how it finds out that it may close.

use std::num::NonZeroU32;
use std::time::Duration;

/// When a breaker opens, and how it finds out that it may close.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerConfig {
    /// The time over which calls are counted, in ten steps.
    pub window: Duration,
    /// With fewer calls than these in the window it does not open: a pool of connections sees few failures.
    pub min_calls: NonZeroU32,
    /// It opens when this share of the calls failed because of the server or the network, from 0 to 1.
    pub failure_rate: f64,
    /// A call that takes longer counts as slow, from asking for the connection until it is given back; none
    /// means that no call does.
    ///
    /// The caller's own time on the connection counts too, so take more than the longest transaction.
    pub slow_after: Option<Duration>,
    /// It opens when this share of the calls was slow, from 0 to 1.
    pub slow_rate: f64,
    /// The pause before the first probe; the following pauses grow.
    pub probe_after: Duration,
    /// The longest pause between probes: how long after its return a server may go unnoticed.
    pub probe_max: Duration,
    /// The longest that one probe may take: a connection and an answer to one query.
    pub probe_timeout: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            window: Duration::from_secs(10),
            min_calls: NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN),
            failure_rate: 0.5,
            slow_after: None,
            slow_rate: 0.8,
            probe_after: Duration::from_millis(50),
            probe_max: Duration::from_millis(250),
            probe_timeout: Duration::from_secs(1),
        }
    }
}
