//! A connection that is checked out.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use db_core::{Caller, Checkout, Endpoint, Facts, Opened, Opening, Role, Site, SqlState, TransactionStatus};
use deadpool::unmanaged::Object;
use diesel_async::AsyncPgConnection;
use tokio::sync::OwnedSemaphorePermit;

use crate::inner::Inner;
use crate::returning;
use crate::slot::Slot;
use crate::wire::Lease;

/// A connection that is checked out of a [`Pool`](crate::Pool); it goes back when this is dropped.
///
/// Dereferences to [`AsyncPgConnection`], so every diesel-async query runs on it. In whatever state it is
/// dropped, the next user does not see it: what runs is cancelled, what is open is rolled back, what was set
/// is reset.
pub struct Connection {
    slot: Option<Object<Box<Slot>>>,
    inner: Arc<Inner>,
    /// The place among those of its class; given up after the connection is back.
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(crate) fn new(
        mut slot: Object<Box<Slot>>,
        inner: Arc<Inner>,
        place: Option<OwnedSemaphorePermit>,
        since: Instant,
        site: Site,
    ) -> Self {
        slot.renew(&inner);
        let mut caller = Caller::now(Checkout(inner.counters.acquired()), site);
        if slot.wire.is_labelled() {
            caller.trace = inner.connector.observers().trace_link(&caller);
        }
        let checkout = caller.checkout.0;
        tracing::trace!(endpoint = %inner.endpoint, %site, checkout, "a connection is checked out");
        slot.check_out(Lease { caller: Arc::new(caller), since, reported: false });
        Connection { slot: Some(slot), inner, _place: place }
    }

    /// The server at the other end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Whether the server has a transaction open on this connection, whoever opened it.
    ///
    /// It is the server's own word (ReadyForQuery), as of the last answer that has come; `None` without the
    /// wire tap.
    pub fn in_transaction(&self) -> Option<bool> {
        let wire = &self.slot.as_ref()?.wire;
        wire.is_tapped().then(|| {
            let facts = wire.facts();
            facts.status != Some(TransactionStatus::Idle) || facts.begin == Opened::Unsent
        })
    }

    /// The server's role as it last said itself (`in_hot_standby`, PostgreSQL 14 and later); `None` without
    /// the tap.
    ///
    /// The server says so at the end of the next statement after it was promoted, not before.
    pub fn role(&self) -> Option<Role> {
        self.slot.as_ref()?.wire.session().role()
    }

    /// The code of the error that failed the transaction open on this connection, or open last.
    pub fn failed_with(&self) -> Option<SqlState> {
        self.slot.as_ref()?.wire.session().failed_with
    }

    /// What is known of it: without the wire tap only the server that it leads to.
    pub fn facts(&self) -> Facts {
        self.slot.as_ref().map_or(Facts::UNKNOWN, |slot| slot.wire.facts())
    }

    /// Has a transaction's BEGIN travel with the next request: see
    /// [`Acquire::begin_with`](db_core::Acquire::begin_with).
    ///
    /// False without the wire tap, where statements carry labels for the server's log, and where a
    /// transaction is open.
    pub fn begin_with(&mut self, opening: &Opening) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.wire.begin_with(opening))
    }

    /// Closes the connection when it comes back.
    pub(crate) fn retire(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.expire();
        }
    }

    /// As [`Connection::retire`], and lets the server finish what it is about.
    pub(crate) fn retire_without_cancel(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.expire();
            slot.may_be_cancelled = false;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            returning::take_back(&self.inner, slot);
        }
    }
}

impl Deref for Connection {
    type Target = AsyncPgConnection;

    #[expect(clippy::expect_used, reason = "the slot is only taken by drop, which ends the value")]
    fn deref(&self) -> &AsyncPgConnection {
        &self.slot.as_ref().expect("a connection that is in use has its slot").conn
    }
}

impl DerefMut for Connection {
    #[expect(clippy::expect_used, reason = "the slot is only taken by drop, which ends the value")]
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.slot.as_mut().expect("a connection that is in use has its slot").conn
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("endpoint", self.endpoint()).finish_non_exhaustive()
    }
}
