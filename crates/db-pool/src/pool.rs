//! The pool: callers wait for a connection in it, and one upkeep task puts connections there.
//!
//! A caller never opens a connection itself. A connection that comes back while another is being opened therefore
//! serves the longest waiter first, and a database that is down meets one task that backs off, not every caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use db_core::{Acquire, Checkout, Class, Classify, ConnectError, Endpoint, Error, Result};
use deadpool::unmanaged::{self, PoolError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::connection::{Connection, Slot};
use crate::connector::Opened;
use crate::upkeep::Upkeep;
use crate::{Connector, Drained, PoolConfig, Status};

/// Connections to one server, opened on demand and handed out in the order in which callers asked.
///
/// Cheap to clone; all clones are the same pool. The last one to go closes the idle connections.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: Connector,
    pub(crate) config: PoolConfig,
    pub(crate) idle: unmanaged::Pool<Slot>,
    /// Wakes the upkeep task: someone waits, or a connection went.
    pub(crate) demand: Arc<Notify>,
    /// Wakes a shutdown that waits for connections to come back.
    pub(crate) returned: Notify,
    /// The last failed attempt to connect, and when it was; none after a success.
    pub(crate) failure: watch::Sender<Option<(Instant, ConnectError)>>,
    /// Connections of an earlier generation are not used again.
    pub(crate) generation: AtomicU64,
    pub(crate) runtime: Handle,
    pub(crate) counters: Counters,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) waiting: AtomicUsize,
    pub(crate) acquires: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) waited_micros: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) creates: AtomicU64,
    pub(crate) destroys: AtomicU64,
    pub(crate) connect_errors: AtomicU64,
    pub(crate) abandoned: AtomicU64,
}

impl Pool {
    /// A pool of connections to `endpoint`, and its upkeep task.
    ///
    /// Returns at once; [`PoolConfig::min`] connections are opened in the background.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(connector: Connector, endpoint: Endpoint, config: PoolConfig) -> Self {
        let demand = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            endpoint,
            connector,
            idle: unmanaged::Pool::new(config.max.get()),
            config,
            demand: Arc::clone(&demand),
            returned: Notify::new(),
            failure: watch::Sender::new(None),
            generation: AtomicU64::new(0),
            runtime: Handle::current(),
            counters: Counters::default(),
        });
        tokio::spawn(Upkeep::new(Arc::downgrade(&inner), demand).run());
        Pool { inner }
    }

    /// Waits for a connection, first come first served.
    ///
    /// # Errors
    /// [`Error::PoolTimeout`] after [`PoolConfig::acquire_timeout`], or [`Error::Connect`] where no connection could
    /// be opened in that time (at once where it never will be, as with a wrong password);
    /// [`Error::QueueFull`] where [`PoolConfig::max_waiters`] already wait; [`Error::PoolClosed`] after a shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and loses no connection.
    pub async fn get(&self) -> Result<Connection> {
        let started = Instant::now();
        let deadline = started + self.inner.config.acquire_timeout;
        match tokio::time::timeout_at(deadline.into(), self.get_alive(started)).await {
            Ok(result) => result,
            Err(_) => {
                self.inner.counters.timeouts.fetch_add(1, Ordering::Relaxed);
                Err(self.inner.gave_up(started))
            }
        }
    }

    async fn get_alive(&self, started: Instant) -> Result<Connection> {
        loop {
            let slot = match self.inner.idle.try_get() {
                Ok(slot) => slot,
                Err(PoolError::Closed) => return Err(self.closed()),
                Err(_) => self.wait(started).await?,
            };
            let mut connection = Connection::new(slot, Arc::clone(&self.inner));
            if connection.is_alive().await {
                let number = self.inner.counters.acquires.fetch_add(1, Ordering::Relaxed);
                connection.check_out(Checkout(number));
                return Ok(connection);
            }
            connection.discard();
        }
    }

    /// The server that the connections lead to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// What the pool holds now and has done so far.
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// Closes the idle connections, and those in use when they come back.
    pub fn evict_all(&self) {
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        self.inner.retire_idle();
        self.inner.demand.notify_one();
    }

    /// Closes the pool: nobody gets a connection any more, and those in use are waited for, for at most `grace`.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting; the pool stays closed.
    pub async fn shutdown(&self, grace: Duration) -> Drained {
        let before = self.inner.idle.status().size;
        self.inner.idle.close();
        self.inner.demand.notify_one();
        let drained = async {
            loop {
                let returned = self.inner.returned.notified();
                if self.inner.idle.status().size == 0 {
                    return;
                }
                returned.await;
            }
        };
        let _ = tokio::time::timeout(grace, drained).await;
        let abandoned = self.inner.idle.status().size;
        Drained { closed: before.saturating_sub(abandoned), abandoned }
    }

    async fn wait(&self, started: Instant) -> Result<unmanaged::Object<Slot>> {
        let inner = &*self.inner;
        let waiting = Waiting::enter(inner)?;
        inner.demand.notify_one();
        let result = tokio::select! {
            biased;
            got = inner.idle.get() => got.map_err(|_| self.closed()),
            error = inner.will_never_connect(started) => Err(error.into()),
        };
        drop(waiting);
        result
    }

    fn closed(&self) -> Error {
        Error::PoolClosed { endpoint: self.inner.endpoint.clone() }
    }
}

impl Acquire for Pool {
    type Conn = Connection;

    fn acquire(&self) -> impl Future<Output = Result<Connection>> + Send {
        self.get()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(&self.inner.endpoint)
    }

    fn evict(&self, conn: &mut Connection) {
        conn.retire();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

impl Inner {
    pub(crate) fn status(&self) -> Status {
        let (held, counters) = (self.idle.status(), &self.counters);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            endpoint: self.endpoint.clone(),
            max: held.max_size,
            open: held.size,
            idle: held.available,
            waiting: counters.waiting.load(Ordering::Relaxed),
            acquires: count(&counters.acquires),
            waits: count(&counters.waits),
            waited: Duration::from_micros(count(&counters.waited_micros)),
            timeouts: count(&counters.timeouts),
            creates: count(&counters.creates),
            destroys: count(&counters.destroys),
            connect_errors: count(&counters.connect_errors),
            abandoned: count(&counters.abandoned),
        }
    }

    /// Takes every idle connection in hand once, and keeps those that are still good.
    pub(crate) fn retire_idle(&self) {
        let mut kept = Vec::new();
        let mut open = self.idle.status().size;
        for _ in 0..self.idle.status().available {
            let Ok(slot) = self.idle.try_get() else { break };
            if slot.is_spent(self) || (open > self.config.min && slot.idle_for() > self.config.idle_timeout) {
                open = open.saturating_sub(1);
                self.counters.destroys.fetch_add(1, Ordering::Relaxed);
                drop(unmanaged::Object::take(slot));
            } else {
                kept.push(slot);
            }
        }
        // The pool is a stack: last out, first back in, so that the most recently used stays on top.
        kept.into_iter().rev().for_each(drop);
    }

    pub(crate) fn add(&self, opened: Opened) {
        self.counters.creates.fetch_add(1, Ordering::Relaxed);
        self.failure.send_replace(None);
        // The upkeep task alone adds, and only where there is room: what does not fit was opened while closing.
        if self.idle.try_add(Slot::new(opened, self)).is_err() {
            self.counters.destroys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until an attempt to connect, made since `started`, shows that none will succeed.
    async fn will_never_connect(&self, started: Instant) -> ConnectError {
        let mut failures = self.failure.subscribe();
        loop {
            if let Some((at, error)) = &*failures.borrow_and_update() {
                let hopeless = error.failure.class() == Class::Permanent && self.idle.status().size == 0;
                if *at >= started && hopeless {
                    return error.clone();
                }
            }
            if failures.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn gave_up(&self, started: Instant) -> Error {
        if let Some((at, error)) = &*self.failure.borrow()
            && *at >= started
            && self.idle.status().size == 0
        {
            return error.clone().into();
        }
        let status = self.status();
        Error::PoolTimeout {
            endpoint: self.endpoint.clone(),
            waited: self.config.acquire_timeout,
            open: status.open,
            idle: status.idle,
            waiting: status.waiting,
            max: status.max,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The upkeep task finds the pool gone and ends.
        self.demand.notify_one();
    }
}

/// Counts one waiting caller for as long as it lives, and then how long it waited.
struct Waiting<'a> {
    counters: &'a Counters,
    since: Instant,
}

impl<'a> Waiting<'a> {
    fn enter(inner: &'a Inner) -> Result<Self> {
        let (count, limit) = (&inner.counters.waiting, inner.config.max_waiters);
        match count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < limit).then_some(waiting + 1)
        }) {
            Ok(_) => Ok(Waiting { counters: &inner.counters, since: Instant::now() }),
            Err(waiting) => {
                inner.counters.timeouts.fetch_add(1, Ordering::Relaxed);
                Err(Error::QueueFull { endpoint: inner.endpoint.clone(), waiting, limit })
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.waiting.fetch_sub(1, Ordering::AcqRel);
        self.counters.waits.fetch_add(1, Ordering::Relaxed);
        self.counters.waited_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
