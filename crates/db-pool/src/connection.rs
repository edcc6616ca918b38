//! A connection that is checked out, and what becomes of it when it is dropped.
//!
//! A connection that comes back with a statement under way or a transaction open is not given to anyone else: the
//! statement is cancelled on the server, so that its locks go at once, and the connection is closed.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_core::{Checkout, Endpoint};
use deadpool::unmanaged::Object;
use diesel::connection::CacheSize;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};
use tokio_postgres::NoTls;

use crate::connector::Opened;
use crate::pool::Inner;
use crate::watch::Seen;

/// How long a sign of life, and a cancel request, may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection in the pool, and what is known of it.
pub(crate) struct Slot {
    conn: AsyncPgConnection,
    lost: Arc<AtomicBool>,
    seen: Arc<Seen>,
    generation: u64,
    expires: Instant,
    idle_since: Instant,
}

impl Slot {
    pub(crate) fn new(opened: Opened, inner: &Inner) -> Self {
        let now = Instant::now();
        let lifetime = inner.config.max_lifetime.mul_f64(rand::random_range(0.95..=1.0));
        Slot {
            conn: opened.conn,
            lost: opened.lost,
            seen: opened.seen,
            generation: inner.generation.load(Ordering::Acquire),
            expires: now + lifetime,
            idle_since: now,
        }
    }

    pub(crate) fn idle_for(&self) -> Duration {
        self.idle_since.elapsed()
    }

    /// Whether it must not be used again: lost, evicted or too old.
    pub(crate) fn is_spent(&self, inner: &Inner) -> bool {
        self.lost.load(Ordering::Acquire)
            || self.generation < inner.generation.load(Ordering::Acquire)
            || Instant::now() >= self.expires
    }

    /// Whether someone left it in the middle of something.
    fn is_abandoned(&mut self) -> bool {
        type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
        self.seen.statement_under_way()
            || <Manager as TransactionManager<AsyncPgConnection>>::is_broken_transaction_manager(
                &mut self.conn,
            )
    }

    fn trim_statements(&mut self, max: usize) {
        if self.seen.cached() > max {
            self.conn.set_prepared_statement_cache_size(CacheSize::Disabled);
            self.conn.set_prepared_statement_cache_size(CacheSize::Unbounded);
            self.seen.forget_cached();
        }
    }
}

/// A connection that is checked out of a [`Pool`](crate::Pool); it goes back when this is dropped.
///
/// Dereferences to [`AsyncPgConnection`], so every diesel-async query runs on it.
pub struct Connection {
    slot: Option<Object<Slot>>,
    inner: Arc<Inner>,
}

impl Connection {
    pub(crate) fn new(slot: Object<Slot>, inner: Arc<Inner>) -> Self {
        Connection { slot: Some(slot), inner }
    }

    /// The server at the other end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Whether it can be handed out: not spent, and, after lying idle, still answering.
    pub(crate) async fn is_alive(&mut self) -> bool {
        let Some(slot) = &mut self.slot else { return false };
        if slot.is_spent(&self.inner) {
            return false;
        }
        if slot.idle_for() <= self.inner.config.check_after {
            return true;
        }
        let sign = tokio::time::timeout(PROBE_TIMEOUT, slot.conn.batch_execute("SELECT 1")).await;
        matches!(sign, Ok(Ok(())))
    }

    pub(crate) fn check_out(&mut self, checkout: Checkout) {
        if let Some(slot) = &self.slot {
            slot.seen.check_out(checkout);
        }
    }

    /// Closes the connection when it comes back.
    pub(crate) fn retire(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.expires = Instant::now();
        }
    }

    /// Closes the connection; what still runs on it is cancelled.
    pub(crate) fn discard(mut self) {
        if let Some(slot) = self.slot.take() {
            self.close(slot);
        }
    }

    fn close(&self, slot: Object<Slot>) {
        let slot = Object::take(slot);
        self.inner.counters.destroys.fetch_add(1, Ordering::Relaxed);
        if slot.seen.statement_under_way() && !slot.lost.load(Ordering::Acquire) {
            let cancel = slot.conn.cancel_token();
            self.inner.runtime.spawn(async move {
                // Best effort: the server ends the statement anyway once it notices that the client is gone.
                let _ = tokio::time::timeout(PROBE_TIMEOUT, cancel.cancel_query(NoTls)).await;
                drop(slot);
            });
        }
        self.inner.demand.notify_one();
        self.inner.returned.notify_waiters();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        if slot.is_spent(&self.inner) || self.inner.idle.is_closed() {
            self.close(slot);
        } else if slot.is_abandoned() {
            self.inner.counters.abandoned.fetch_add(1, Ordering::Relaxed);
            self.close(slot);
        } else {
            slot.trim_statements(self.inner.connector.config().max_prepared_statements.get());
            slot.idle_since = Instant::now();
            drop(slot);
        }
    }
}

impl Deref for Connection {
    type Target = AsyncPgConnection;

    #[expect(clippy::expect_used, reason = "the slot is only taken by drop and discard, which end the value")]
    fn deref(&self) -> &AsyncPgConnection {
        &self.slot.as_ref().expect("a connection that is in use has its slot").conn
    }
}

impl DerefMut for Connection {
    #[expect(clippy::expect_used, reason = "the slot is only taken by drop and discard, which end the value")]
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.slot.as_mut().expect("a connection that is in use has its slot").conn
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("endpoint", self.endpoint()).finish_non_exhaustive()
    }
}
