//! What a proxy does to its connections at this moment.

use std::time::Duration;

/// One way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What the client sends.
    ToServer,
    /// What the server answers.
    ToClient,
}

/// When the connection is cut around a COMMIT.
///
/// The client sees the same in the first three, and in the last two once the connection ends: a connection
/// that died after it had sent COMMIT. What happened on the server differs, and that is what code under test
/// has to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitCut {
    /// The COMMIT never reaches the server, so the transaction is rolled back.
    Withheld,
    /// The COMMIT reaches the server and the client is cut off at once: the server may be at it still.
    Forwarded,
    /// The server has answered, and the answer is thrown away: the transaction is committed (unless that
    /// answer was an error).
    Answered,
    /// The server has answered, and the client gets an error with this SQLSTATE instead, on a connection that
    /// goes on: what a pooler says that has lost its server and keeps its client.
    Falsified([u8; 5]),
    /// The same, where the COMMIT, sent as a simple query, never reached the server: it gets a ROLLBACK in
    /// its place.
    Refused([u8; 5]),
    /// The COMMIT, sent as a simple query, is held back, and nothing is closed: the transaction stays open
    /// and the client waits until one side closes the connection or it is [cut](super::Proxy::cut).
    HeldBack,
    /// The server has answered, the answer is held back, and nothing is closed: the transaction is committed
    /// and the client waits until one side closes the connection or it is [cut](super::Proxy::cut).
    Unanswered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    #[default]
    Pass,
    Refuse,
    Blackhole,
    Stall,
}

/// How bytes flow one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Shape {
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) bytes_per_second: Option<u64>,
    /// Cut a connection after so many more bytes.
    pub(super) cut_after: Option<u64>,
    /// Counts the calls that set `cut_after`: a connection starts a new count when it changes.
    pub(super) cut_after_set: u64,
}

/// Everything that connections look at, as one value that is replaced whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) to_server: Shape,
    pub(super) to_client: Shape,
    /// Counts the calls to `cut`: a connection that is older than the last one dies.
    pub(super) cuts: u64,
    /// The same for `half_open`.
    pub(super) half_opens: u64,
    /// COMMITs still to be cut.
    pub(super) commits: u64,
    pub(super) commit_cut: Option<CommitCut>,
}

impl Plan {
    pub(super) fn shape(&self, direction: Direction) -> &Shape {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    pub(super) fn shape_mut(&mut self, direction: Direction) -> &mut Shape {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Takes every fault back but remembers what has been counted.
    pub(super) fn heal(&mut self) {
        let (to_server, to_client) = (self.to_server.cut_after_set, self.to_client.cut_after_set);
        *self = Self { cuts: self.cuts, half_opens: self.half_opens, ..Self::default() };
        self.to_server.cut_after_set = to_server;
        self.to_client.cut_after_set = to_client;
    }

    /// Claims one of the COMMITs still to be cut.
    pub(super) fn take_commit(&mut self) -> Option<CommitCut> {
        let cut = self.commit_cut.filter(|_| self.commits > 0)?;
        self.commits -= 1;
        Some(cut)
    }
}
