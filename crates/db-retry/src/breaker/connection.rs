//! A connection that came through a breaker, and tells it how the work on it went.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use db_core::Acquire;
use diesel_async::AsyncPgConnection;

use super::machine::Admission;
use super::window::Call;

/// A connection that came through a breaker.
pub struct GuardedConnection<A: Acquire> {
    pub(super) conn: A::Conn,
    /// None where there is no breaker.
    pub(super) visit: Option<Visit>,
}

impl<A: Acquire> GuardedConnection<A> {
    /// The connection itself. The breaker counts the call as ended, well.
    pub fn into_inner(self) -> A::Conn {
        self.conn
    }
}

impl<A: Acquire> Deref for GuardedConnection<A> {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.conn
    }
}

impl<A: Acquire> DerefMut for GuardedConnection<A> {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.conn
    }
}

/// What a visit needs of a breaker, whatever is behind that.
pub(super) trait Guard: Send + Sync {
    fn record(self: Arc<Self>, admission: Admission, call: Call, cause: &dyn Fn() -> Arc<str>);
    fn is_slow(&self, started: Duration) -> bool;
}

/// One call, from being let through until its connection is given back.
pub(super) struct Visit {
    guard: Arc<dyn Guard>,
    admission: Admission,
    started: Duration,
    reported: bool,
}

impl Visit {
    pub(super) fn new(guard: Arc<dyn Guard>, admission: Admission, started: Duration) -> Self {
        Visit { guard, admission, started, reported: false }
    }

    /// The call has failed because of the server.
    pub(super) fn failed(&mut self, cause: &dyn Fn() -> Arc<str>) {
        self.report(Call::Failed, cause);
    }

    fn report(&mut self, call: Call, cause: &dyn Fn() -> Arc<str>) {
        if !std::mem::replace(&mut self.reported, true) {
            Arc::clone(&self.guard).record(self.admission, call, cause);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let call = if self.guard.is_slow(self.started) { Call::Slow } else { Call::Good };
        self.report(call, &|| Arc::from("calls take too long"));
    }
}
