//! What is bad, for how long it must be, and when nobody is told.

use std::time::Duration;

use crate::alerts::Silence;

/// What is bad, for how long it must be, and when nobody is told.
///
/// ```
/// use std::time::Duration;
/// use db_monitoring::alerts::AlertConfig;
///
/// let config = AlertConfig { raise_after: Duration::from_secs(10), ..AlertConfig::default() };
/// assert_eq!(config.pool_usage, Some(80.0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AlertConfig {
    /// Whether anybody is told at all.
    pub enabled: bool,
    /// Percent of a pool's connections in use from which it is bad; none is never. At 100 % with callers
    /// waiting it is critical.
    pub pool_usage: Option<f64>,
    /// Percent of reads that the cache answers below which it is bad; none is never.
    pub cache_hit_rate: Option<f64>,
    /// The mean time of statements over the last minute from which it is bad; none is never.
    pub query_time: Option<Duration>,
    /// Percent of statements that fail over the last minute from which it is bad; none is never.
    pub error_rate: Option<f64>,
    /// How far a standby may be behind; none is ever so far.
    pub replication_lag: Option<Duration>,
    /// A condition raises an incident when it was bad at every look for so long.
    pub raise_after: Duration,
    /// An incident ends when its condition was fine at every look for so long.
    pub resolve_after: Duration,
    /// How far two looks are apart.
    pub every: Duration,
    /// When nobody is told.
    pub silences: Vec<Silence>,
}

impl Default for AlertConfig {
    fn default() -> Self {
        AlertConfig {
            enabled: true,
            pool_usage: Some(80.0),
            cache_hit_rate: Some(70.0),
            query_time: Some(Duration::from_secs(2)),
            error_rate: Some(5.0),
            replication_lag: Some(Duration::from_secs(10)),
            raise_after: Duration::from_secs(30),
            resolve_after: Duration::from_secs(60),
            every: Duration::from_millis(500),
            silences: Vec::new(),
        }
    }
}
