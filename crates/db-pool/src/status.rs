//! What a pool holds and has done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::Endpoint;

use crate::histogram::Timings;
use crate::wire::Wire;

/// What a pool holds now and has done since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The server that the pool connects to.
    pub endpoint: Endpoint,
    /// The most connections that may be in service now: open, and not parked.
    pub max: usize,
    /// Connections that are open: idle, in use, or being salvaged.
    pub open: usize,
    /// Open connections that nobody uses.
    pub idle: usize,
    /// Connections that are being opened.
    pub creating: usize,
    /// Connections that came back in the middle of something and are being cleaned.
    pub salvaging: usize,
    /// Open connections above the [adaptive limit](crate::AdaptiveConfig), which nobody gets for the moment.
    pub parked: usize,
    /// Callers that wait for a connection.
    pub waiting: usize,
    /// Whether the server has stopped: it answers neither statements nor new connections.
    pub stalled: bool,
    /// Connections handed out so far.
    pub acquires: u64,
    /// Acquires that gave up: timeouts, and callers refused because the queue was full.
    pub timeouts: u64,
    /// Connections closed so far, for whatever reason.
    pub destroys: u64,
    /// Attempts to open a connection that failed.
    pub connect_errors: u64,
    /// Connections that came back in the middle of something or with something left behind, were cleaned, and
    /// went back into the pool.
    pub salvages: u64,
    /// Connections that came back in the middle of something and had to be closed.
    pub abandoned: u64,
    /// Connections that were held for longer than
    /// [`PoolConfig::leak_threshold`](crate::PoolConfig::leak_threshold).
    pub leaks: u64,
    /// How long callers waited for a connection; zero for those who found one.
    pub wait_times: Timings,
    /// How long connections were held.
    pub hold_times: Timings,
    /// How long it took to open connections.
    pub create_times: Timings,
}

impl Status {
    pub(crate) fn of(endpoint: Endpoint) -> Self {
        Status {
            endpoint,
            max: 0,
            open: 0,
            idle: 0,
            creating: 0,
            salvaging: 0,
            parked: 0,
            waiting: 0,
            stalled: false,
            acquires: 0,
            timeouts: 0,
            destroys: 0,
            connect_errors: 0,
            salvages: 0,
            abandoned: 0,
            leaks: 0,
            wait_times: Timings::default(),
            hold_times: Timings::default(),
            create_times: Timings::default(),
        }
    }

    /// Connections that are in use.
    pub fn in_use(&self) -> usize {
        self.open.saturating_sub(self.idle + self.salvaging + self.parked)
    }

    /// Connections opened so far.
    pub fn creates(&self) -> u64 {
        self.create_times.count()
    }

    /// Connections that came back so far.
    pub fn releases(&self) -> u64 {
        self.hold_times.count()
    }
}

/// A statement that connections keep prepared, and how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementStatus {
    /// The statement's text with placeholders.
    pub text: Arc<str>,
    /// Connections that keep it prepared.
    pub connections: usize,
    /// How often it ran on them.
    pub uses: u64,
    /// How long it took, from sending to the end of the answer, added up.
    pub busy: Duration,
    /// How long it has not been used.
    pub unused_for: Duration,
}

impl StatementStatus {
    /// How long it took on average; zero where it never ran.
    pub fn mean(&self) -> Duration {
        let uses = u32::try_from(self.uses).unwrap_or(u32::MAX);
        self.busy.checked_div(uses).unwrap_or_default()
    }

    pub(crate) fn of(wires: &[Arc<Wire>]) -> Vec<Self> {
        let now = Instant::now();
        let mut by_text: HashMap<Box<str>, StatementStatus> = HashMap::new();
        for wire in wires {
            for statement in wire.session().prepared() {
                let unused_for = now.saturating_duration_since(statement.last_used());
                let status = by_text.entry(statement.text.clone()).or_insert_with(|| StatementStatus {
                    text: Arc::from(&*statement.text),
                    connections: 0,
                    uses: 0,
                    busy: Duration::ZERO,
                    unused_for,
                });
                status.connections += 1;
                status.uses += statement.uses();
                status.busy += statement.busy();
                status.unused_for = status.unused_for.min(unused_for);
            }
        }
        let mut all: Vec<Self> = by_text.into_values().collect();
        all.sort_by_key(|status| std::cmp::Reverse(status.busy));
        all
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
