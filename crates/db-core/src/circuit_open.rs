//! Why a circuit breaker refuses callers, and for how long.

use std::fmt;
use std::time::Duration;

use crate::Endpoint;

/// A server is not asked, because too many of the last calls to it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitOpen {
    /// The server, where there is exactly one behind the breaker.
    pub endpoint: Option<Endpoint>,
    /// For how long it has not been asked.
    pub open_for: Duration,
    /// When it is asked again whether it is back; zero while that is going on.
    pub next_probe_in: Duration,
    /// The last failure, in its own words.
    pub cause: String,
}

impl CircuitOpen {
    /// A refusal.
    pub fn new(
        endpoint: Option<Endpoint>,
        open_for: Duration,
        next_probe_in: Duration,
        cause: impl Into<String>,
    ) -> Self {
        CircuitOpen { endpoint, open_for, next_probe_in, cause: cause.into() }
    }
}

impl std::error::Error for CircuitOpen {}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{endpoint}")?,
            None => f.write_str("the database")?,
        }
        let CircuitOpen { open_for, next_probe_in, cause, .. } = self;
        write!(f, " is not asked since {open_for:.1?}: the next probe is in {next_probe_in:.1?} ({cause})")
    }
}
