//! One node: where it is, what its monitor saw last, and how many reads run on it now.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use db_core::{Endpoint, Role};
use tokio::sync::watch;

/// What a monitor saw of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Seen {
    /// Nothing yet, or the last probe failed.
    #[default]
    Down,
    /// It answered. A lag that is unknown counts as infinite.
    Up { role: Role, lag: Option<Duration> },
}

#[derive(Debug)]
pub(crate) struct Node<A> {
    pub(crate) endpoint: Endpoint,
    pub(crate) source: A,
    pub(crate) seen: watch::Sender<Seen>,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) reads: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl<A> Node<A> {
    pub(crate) fn new(endpoint: Endpoint, source: A) -> Self {
        Node {
            endpoint,
            source,
            seen: watch::Sender::new(Seen::Down),
            in_flight: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }

    /// Whether it is a standby that is alive and no staler than `allowed`.
    pub(crate) fn is_fresh(&self, allowed: Duration) -> bool {
        match *self.seen.borrow() {
            Seen::Up { role: Role::Standby, lag } => lag.unwrap_or(Duration::MAX) <= allowed,
            Seen::Up { role: Role::Primary, .. } | Seen::Down => false,
        }
    }

    /// Takes it out of use until a probe finds it alive.
    pub(crate) fn suspect(&self) {
        self.seen.send_replace(Seen::Down);
    }

    /// Why the last probe failed; none after one that succeeded.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps why the last probe failed, and returns why the one before did.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble)
    }

    /// Waits until the node is down.
    pub(crate) async fn went_down(&self) {
        let mut seen = self.seen.subscribe();
        if seen.wait_for(|seen| *seen == Seen::Down).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
