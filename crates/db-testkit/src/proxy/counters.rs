//! Counts what passed through a proxy.

use super::plan::Direction;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What has passed through a proxy so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that were accepted, those that got no answer included.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: u64,
    /// COMMITs that clients sent.
    pub commits_seen: u64,
    /// COMMITs whose connection was cut.
    pub commits_cut: u64,
    /// Bytes that were passed on to the server.
    pub bytes_to_server: u64,
    /// Bytes that were passed on to clients.
    pub bytes_to_client: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    accepted: AtomicU64,
    open: AtomicU64,
    commits_seen: AtomicU64,
    commits_cut: AtomicU64,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
}

impl Tally {
    pub(super) fn snapshot(&self) -> Counters {
        Counters {
            accepted: self.accepted.load(Relaxed),
            open: self.open.load(Relaxed),
            commits_seen: self.commits_seen.load(Relaxed),
            commits_cut: self.commits_cut.load(Relaxed),
            bytes_to_server: self.bytes_to_server.load(Relaxed),
            bytes_to_client: self.bytes_to_client.load(Relaxed),
        }
    }

    pub(super) fn accepted(&self) -> Open<'_> {
        self.accepted.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Open(self)
    }

    pub(super) fn commit_seen(&self) {
        self.commits_seen.fetch_add(1, Relaxed);
    }

    pub(super) fn commit_cut(&self) {
        self.commits_cut.fetch_add(1, Relaxed);
    }

    pub(super) fn passed(&self, direction: Direction, bytes: u64) {
        let counter = match direction {
            Direction::ToServer => &self.bytes_to_server,
            Direction::ToClient => &self.bytes_to_client,
        };
        counter.fetch_add(bytes, Relaxed);
    }
}

/// An open connection; counted as long as it lives.
pub(super) struct Open<'a>(&'a Tally);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
