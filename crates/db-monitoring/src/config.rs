//! What is watched and what is logged.

use std::time::Duration;

use db_core::Environment;
use db_core::settings::{FromSettings, Reader};

/// What a [`Monitor`](crate::Monitor) watches and logs.
///
/// ```
/// use std::time::Duration;
/// use db_monitoring::MonitoringConfig;
///
/// let config = MonitoringConfig { slow_query_threshold: Some(Duration::from_millis(100)), ..Default::default() };
/// assert!(config.enabled && !config.log_queries);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringConfig {
    /// Whether anything is watched at all; if not, statements cost nothing.
    pub enabled: bool,
    /// Whether durations, rows, bytes and errors are counted for each statement, and told to OpenTelemetry.
    pub metrics: bool,
    /// A statement that takes this long is slow: it is counted, and
    /// [`Monitor::slow_queries`](crate::Monitor::slow_queries) tells of it. None is never.
    pub slow_query_threshold: Option<Duration>,
    /// Whether each slow statement is logged as a warning. A database that is slow as a whole makes many of
    /// them.
    pub log_slow_queries: bool,
    /// Whether every statement is logged. That is for development: a line costs more than most statements.
    pub log_queries: bool,
    /// Of a hundred traces, how many the server's log names in the transactions that they run; 0 is none. It
    /// needs the pool's wire tap, and costs no round trip.
    pub trace_link: u32,
    /// How often a `Db` with a collector of its own looks at the server's activity and locks; none: it has
    /// none.
    pub collect_every: Option<Duration>,
    /// For how many days a collector keeps history in the database; 0 keeps it in memory only.
    pub history_days: u32,
}

impl MonitoringConfig {
    /// What fits an environment: nothing is slow in tests.
    pub fn preset(environment: Environment) -> Self {
        // Nothing is set, so nothing can be wrong.
        MonitoringConfig::read(&mut Reader::new(&|_| None, environment))
    }
}

impl Default for MonitoringConfig {
    fn default() -> Self {
        MonitoringConfig::preset(Environment::Production)
    }
}
