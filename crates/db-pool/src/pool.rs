//! The pool: callers wait for a connection in it, and one upkeep task puts connections there.
//!
//! A caller never opens a connection itself. A connection that comes back while another is being opened
//! therefore serves the longest waiter first, and a database that is down meets one task that backs off, not
//! every caller.

use std::num::NonZeroUsize;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use db_core::{Acquire, Endpoint, Error, EvictAll, Facts, Holder, Opening, Report, Result, Site};
use deadpool::unmanaged::Object;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::alarm;
use crate::closing::Closing;
use crate::connection::Connection;
use crate::doubts::Doubts;
use crate::gate::Gate;
use crate::inner::Inner;
use crate::returning;
use crate::slot::Slot;
use crate::upkeep::{Upkeep, supervise};
use crate::{Connector, Drained, PoolConfig, StatementStatus, Status};

/// Connections to one server, opened on demand and handed out in the order in which callers asked.
///
/// Cheap to clone; all clones are the same pool. The last one to go closes the idle connections.
#[derive(Clone)]
pub struct Pool {
    pub(crate) inner: Arc<Inner>,
    priority: Priority,
}

/// Whose work a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Priority {
    /// Someone waits for the answer.
    #[default]
    Interactive,
    /// Nobody waits: at most [`PoolConfig::background`] connections at once, so that the rest is always there
    /// for interactive work.
    Background,
}

impl Pool {
    /// The most connections that any pool may open.
    pub const LARGEST: usize = 10_000;

    /// A pool of connections to `endpoint`, and its upkeep task.
    ///
    /// Returns at once; [`PoolConfig::min`] connections are opened in the background.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(mut connector: Connector, endpoint: Endpoint, config: PoolConfig) -> Self {
        connector.harmless = config.harmless.clone();
        connector.doubts = Doubts::default();
        let demand = Arc::new(Notify::new());
        let inner = Arc::new(Inner::new(connector, endpoint, config, Arc::clone(&demand)));
        let pool = Arc::downgrade(&inner);
        tokio::spawn(alarm::mind(pool.clone()));
        tokio::spawn(supervise(move || Upkeep::new(pool.clone(), Arc::clone(&demand)).run()));
        Pool { inner, priority: Priority::Interactive }
    }

    /// The same pool for work that nobody waits for.
    ///
    /// It waits in the same queue, but takes at most [`PoolConfig::background`] connections at once.
    pub fn background(&self) -> Pool {
        Pool { inner: Arc::clone(&self.inner), priority: Priority::Background }
    }

    /// Waits for a connection, first come first served.
    ///
    /// # Errors
    /// [`Error::PoolTimeout`] after [`PoolConfig::acquire_timeout`], or [`Error::Connect`] where no
    /// connection could be opened in that time (at once where it never will be, as with a wrong password);
    /// [`Error::QueueFull`] where [`PoolConfig::max_waiters`] already wait; [`Error::PoolClosed`] after a
    /// shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and loses no connection.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<Connection>> + Send {
        self.get_at(Location::caller())
    }

    async fn get_at(&self, site: Site) -> Result<Connection> {
        let started = Instant::now();
        if let Some(connection) = self.take_fresh(started, site) {
            self.inner.counters.waits.record(Duration::ZERO);
            return self.prepared(connection, started).await;
        }
        let timeout = self.inner.config.acquire_timeout;
        // What no clock can show is never.
        let deadline =
            timeout.and_then(|timeout| tokio::time::Instant::from_std(started).checked_add(timeout));
        let mut next = None;
        if self.may_wait_at_once() {
            let slot = match self.inner.idle.try_get() {
                Ok(slot) => slot,
                Err(_) => self.next(started, deadline).await?,
            };
            let now = Instant::now();
            let is_open = self.inner.gate.now() == Gate::Open;
            if is_open && self.is_fresh(&slot, now) {
                self.inner.counters.waits.record(now.saturating_duration_since(started));
                let connection = Connection::new(slot, Arc::clone(&self.inner), None, now, site);
                return self.prepared(connection, started).await;
            }
            // Nobody keeps a connection while the pool is suspended: it goes back.
            next = is_open.then_some(slot);
        }
        let waiting = self.wait(started, deadline, next, site);
        match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, waiting).await {
                Ok(result) => self.prepared(result?, started).await,
                Err(_) => Err(self.inner.gave_up(started)),
            },
            None => {
                let connection = waiting.await?;
                self.prepared(connection, started).await
            }
        }
    }

    /// Does what the hooks want of a connection that a caller is about to get.
    async fn prepared(&self, mut connection: Connection, started: Instant) -> Result<Connection> {
        let hooks = &self.inner.connector.on_checkout;
        if hooks.is_empty() {
            return Ok(connection);
        }
        let running = hooks.run(&mut connection);
        let hooked = match self.inner.config.acquire_timeout {
            None => Some(running.await),
            Some(timeout) => {
                let left = timeout.saturating_sub(started.elapsed());
                tokio::time::timeout(left, running).await.ok()
            }
        };
        if let Some(Ok(())) = hooked {
            return Ok(connection);
        }
        connection.retire();
        hooked.map_or_else(|| Err(self.inner.gave_up(started)), |failed| failed.map(|()| connection))
    }

    /// Whether nothing but the want of a connection is in this caller's way.
    fn may_wait_at_once(&self) -> bool {
        self.priority == Priority::Interactive && self.inner.gate.now() == Gate::Open
    }

    /// Whether no questions need to be asked.
    fn is_fresh(&self, slot: &Slot, now: Instant) -> bool {
        let inner = &self.inner;
        let asks = inner.config.check_after.is_some_and(|after| slot.silent_for(now) > after);
        !slot.is_spent(inner, now) && !asks && !slot.is_doubted(inner)
    }

    /// Takes an idle connection that needs no questions asked, without waiting.
    fn take_fresh(&self, now: Instant, site: Site) -> Option<Connection> {
        let inner = &self.inner;
        if inner.gate.now() != Gate::Open {
            return None;
        }
        let place = match self.priority {
            Priority::Interactive => None,
            Priority::Background => Some(Arc::clone(&inner.background).try_acquire_owned().ok()?),
        };
        let slot = inner.idle.try_get().ok()?;
        if !self.is_fresh(&slot, now) {
            // Whoever waits asks it, and closes it where it does not answer.
            drop(slot);
            return None;
        }
        Some(Connection::new(slot, Arc::clone(inner), place, now, site))
    }

    /// Waits for whatever is in the way, and asks a connection that was silent for a sign of life. Begins
    /// with `next`, where that one was handed over already.
    async fn wait(
        &self,
        started: Instant,
        deadline: Option<tokio::time::Instant>,
        mut next: Option<Object<Box<Slot>>>,
        site: Site,
    ) -> Result<Connection> {
        let inner = &self.inner;
        loop {
            let place = self.place().await?;
            let mut slot = match next.take().map_or_else(|| inner.idle.try_get(), Ok) {
                Ok(slot) => slot,
                Err(_) => self.next(started, deadline).await?,
            };
            let now = Instant::now();
            let is_good =
                self.is_fresh(&slot, now) || (!slot.is_spent(inner, now) && slot.is_as_new(inner).await);
            match inner.gate.now() {
                // It was suspended or shut down while this caller waited or the connection was asked.
                Gate::Suspended => continue,
                Gate::Closed => {
                    returning::close(inner, slot, Closing::Shutdown);
                    return Err(self.closed());
                }
                Gate::Open => {}
            }
            if is_good {
                inner.counters.waits.record(started.elapsed());
                return Ok(Connection::new(slot, Arc::clone(inner), place, Instant::now(), site));
            }
            let why = slot.spent(inner, Instant::now()).unwrap_or(Closing::Silent);
            returning::close(inner, slot, why);
        }
    }

    /// Waits until a caller of this class may wait for a connection.
    async fn place(&self) -> Result<Option<OwnedSemaphorePermit>> {
        let inner = &self.inner;
        if self.may_wait_at_once() {
            return Ok(None);
        }
        let mut held_back = None;
        if inner.gate.now() == Gate::Suspended {
            held_back =
                Some(inner.counters.hold_back(inner.config.most_waiters()).map_err(|n| self.full(n))?);
        }
        if inner.gate.wait_for(&[Gate::Open, Gate::Closed]).await == Gate::Closed {
            return Err(self.closed());
        }
        if self.priority == Priority::Interactive {
            return Ok(None);
        }
        if let Ok(place) = Arc::clone(&inner.background).try_acquire_owned() {
            return Ok(Some(place));
        }
        if held_back.is_none() {
            held_back =
                Some(inner.counters.hold_back(inner.config.most_waiters()).map_err(|n| self.full(n))?);
        }
        let place = tokio::select! {
            place = Arc::clone(&inner.background).acquire_owned() => place.map_err(|_| self.closed())?,
            _ = inner.gate.wait_for(&[Gate::Closed]) => return Err(self.closed()),
        };
        drop(held_back);
        Ok(Some(place))
    }

    /// Waits for the next connection that comes back or is opened.
    async fn next(
        &self,
        started: Instant,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<Object<Box<Slot>>> {
        let inner = &*self.inner;
        let waiting = inner.counters.wait(inner.config.most_waiters()).map_err(|n| self.full(n))?;
        if inner.has_room() {
            inner.demand.notify_one();
        }
        let slot = tokio::select! {
            biased;
            slot = inner.idle.get() => slot.map_err(|_| Some(self.closed())),
            error = inner.no_hope(started, deadline) => Err(error),
        };
        // Whoever gives up does not count itself among those who wait.
        drop(waiting);
        slot.map_err(|hopeless| hopeless.unwrap_or_else(|| inner.gave_up(started)))
    }

    /// The server that the connections lead to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// What the pool holds now and has done so far.
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// Who holds connections now, the longest first.
    pub fn holders(&self) -> Vec<Holder> {
        self.inner.leases.holders(Instant::now())
    }

    /// The prepared statements that the open connections keep, the one that took most time first.
    pub fn statements(&self) -> Vec<StatementStatus> {
        StatementStatus::of(&self.inner.leases.alive())
    }

    /// Hands out no connection until [`Pool::resume`]; callers wait, for their `acquire_timeout` at most.
    ///
    /// Connections in use stay in use. For a short interruption that is planned: a switchover, a restart.
    pub fn suspend(&self) {
        self.inner.gate.set(Gate::Suspended);
    }

    /// Hands out connections again.
    pub fn resume(&self) {
        self.inner.gate.set(Gate::Open);
    }

    /// Lets at most `max` connections be open from now on, [`Pool::LARGEST`] at most.
    ///
    /// Where more are open, the idle ones are closed now and others when they come back. The share of
    /// background work stays as it was. An [adaptive limit](crate::AdaptiveConfig) stays below `max`.
    pub fn resize(&self, max: NonZeroUsize) {
        self.inner.resize(max.get().min(Pool::LARGEST));
        drop(self.inner.retire_idle());
        self.inner.demand.notify_one();
    }

    /// Closes the idle connections, and those in use when they come back.
    pub fn evict_all(&self) {
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        drop(self.inner.retire_idle());
        self.inner.demand.notify_one();
    }

    /// Closes the pool: nobody gets a connection any more, and those in use are waited for, for at most
    /// `grace`.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting; the pool stays closed.
    pub async fn shutdown(&self, grace: Duration) -> Drained {
        let before = self.inner.open();
        self.inner.close();
        let drained = async {
            loop {
                let mut returned = std::pin::pin!(self.inner.returned.notified());
                returned.as_mut().enable();
                self.inner.close_idle();
                if self.inner.open() == 0 {
                    return;
                }
                returned.await;
            }
        };
        let _ = tokio::time::timeout(grace, drained).await;
        let abandoned = self.inner.open();
        Drained { closed: before.saturating_sub(abandoned), abandoned }
    }

    fn closed(&self) -> Error {
        Error::PoolClosed { endpoint: self.inner.endpoint.clone() }
    }

    fn full(&self, waiting: usize) -> Error {
        self.inner.counters.timed_out();
        let limit = self.inner.config.most_waiters();
        Error::QueueFull { endpoint: self.inner.endpoint.clone(), waiting, limit }
    }
}

impl Acquire for Pool {
    type Conn = Connection;

    fn acquire_at(&self, site: Site) -> impl Future<Output = Result<Connection>> + Send {
        self.get_at(site)
    }

    fn acquire_now(&self, site: Site) -> Option<Connection> {
        // A hook may wait for the server.
        if !self.inner.connector.on_checkout.is_empty() {
            return None;
        }
        let connection = self.take_fresh(Instant::now(), site)?;
        self.inner.counters.waits.record(Duration::ZERO);
        Some(connection)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(&self.inner.endpoint)
    }

    fn facts(&self, conn: &Connection) -> Facts {
        conn.facts()
    }

    fn report(&self, conn: &mut Connection, what: Report) {
        match what {
            Report::ServerGone => conn.retire(),
            Report::CommitUnanswered => conn.retire_without_cancel(),
            // The pool leads to one server only, and this connection is well.
            Report::Conflict => {}
        }
    }

    fn begin_with(&self, conn: &mut Connection, opening: &Opening) -> bool {
        conn.begin_with(opening)
    }

    /// A pool does not watch its server beyond its connections.
    fn server_down(&self, _: &Connection) -> impl Future<Output = ()> + Send + use<> {
        std::future::pending()
    }
}

impl EvictAll for Pool {
    fn evict_all(&self) {
        Pool::evict_all(self);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}
