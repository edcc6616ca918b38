//! What a pool holds and has done.

use std::time::Duration;

use db_core::Endpoint;

/// What a pool holds now and has done since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The server that the pool connects to.
    pub endpoint: Endpoint,
    /// The most connections that it may open.
    pub max: usize,
    /// Connections that are open, idle or in use.
    pub open: usize,
    /// Open connections that nobody uses.
    pub idle: usize,
    /// Callers that wait for a connection.
    pub waiting: usize,
    /// Connections handed out so far.
    pub acquires: u64,
    /// Acquires that found no idle connection and had to wait.
    pub waits: u64,
    /// How long acquires have waited, added up.
    pub waited: Duration,
    /// Acquires that gave up: timeouts, and callers refused because the queue was full.
    pub timeouts: u64,
    /// Connections opened so far.
    pub creates: u64,
    /// Connections closed so far, for whatever reason.
    pub destroys: u64,
    /// Attempts to open a connection that failed.
    pub connect_errors: u64,
    /// Connections that came back with work under way or a transaction open, and were closed for it.
    pub abandoned: u64,
}

impl Status {
    /// Connections that are in use.
    pub fn in_use(&self) -> usize {
        self.open.saturating_sub(self.idle)
    }
}

/// How a shutdown ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "it says what was abandoned"]
pub struct Drained {
    /// Connections that were closed in good order.
    pub closed: usize,
    /// Connections that were still in use when the grace period ended; they close when their users drop them.
    pub abandoned: usize,
}

impl Drained {
    /// Whether nothing was abandoned.
    pub fn is_clean(&self) -> bool {
        self.abandoned == 0
    }
}

impl std::ops::Add for Drained {
    type Output = Drained;

    fn add(self, other: Drained) -> Drained {
        Drained { closed: self.closed + other.closed, abandoned: self.abandoned + other.abandoned }
    }
}
