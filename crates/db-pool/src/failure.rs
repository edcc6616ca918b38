//! The last failed attempt to connect, and how those who wait for a connection hear that they should look up.
//!
//! Every caller that waits listens, so listening costs as little as it can: one place in one list, and no
//! lock where nothing has failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use db_core::ConnectError;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The last failed attempt to connect of one pool; none after a success.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    last: Mutex<Option<(Instant, ConnectError)>>,
    /// Whether there is one.
    known: AtomicBool,
    look_up: Notify,
}

impl Failure {
    /// An attempt has failed just now.
    pub(crate) fn set(&self, error: ConnectError) {
        *self.last() = Some((Instant::now(), error));
        self.known.store(true, Ordering::Release);
        self.tell_waiters();
    }

    /// An attempt has succeeded.
    pub(crate) fn clear(&self) {
        let mut last = self.last();
        *last = None;
        self.known.store(false, Ordering::Release);
    }

    /// The failure, where it came at `started` or later.
    pub(crate) fn since(&self, started: Instant) -> Option<ConnectError> {
        if !self.known.load(Ordering::Acquire) {
            return None;
        }
        self.last().as_ref().filter(|(at, _)| *at >= started).map(|(_, error)| error.clone())
    }

    /// Those who wait look whether there is hope left for them.
    pub(crate) fn tell_waiters(&self) {
        self.look_up.notify_waiters();
    }

    /// Ends when those who wait are told, from now on, to look up.
    pub(crate) fn told(&self) -> Notified<'_> {
        self.look_up.notified()
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, ConnectError)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
