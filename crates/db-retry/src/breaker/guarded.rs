//! A place where connections come from, behind a breaker.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_core::{
    Acquire, CircuitOpen, Class, Classify, Endpoint, Error, EvictAll, Facts, Opening, Report, Result, Site,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::BreakerConfig;
use super::connection::{Guard, GuardedConnection, Visit};
use super::machine::{Admission, BreakerState, Machine, Refusal};
use super::probe;
use super::window::Call;

/// A place where connections come from, behind a breaker: one for each server.
///
/// It opens when too many calls failed because of the server: no connection could be opened, or the work on
/// one met was [reported](Acquire::report) to have lost its server. Conflicts, violated constraints and a
/// pool that is merely busy ([`PoolTimeout`](Error::PoolTimeout), [`QueueFull`](Error::QueueFull)) say
/// nothing about the server and do not count.
///
/// While it is open, callers fail at once with [`Error::CircuitOpen`], those that were already waiting too,
/// and a task of its own asks for a connection and runs `SELECT 1` on it, until that succeeds. Cheap to
/// clone; clones are one breaker.
pub struct Guarded<A> {
    pub(super) shared: Arc<Shared<A>>,
}

/// A change of a breaker's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerChange {
    /// The server, where there is exactly one behind the breaker.
    pub endpoint: Option<Endpoint>,
    /// The state that it has now.
    pub state: BreakerState,
    /// The last failure, in its own words; none where it has closed.
    pub cause: Option<String>,
}

/// What a breaker does now and has done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// The server, where there is exactly one behind the breaker.
    pub endpoint: Option<Endpoint>,
    /// What it does with callers.
    pub state: BreakerState,
    /// The last failure, in its own words, while it is not closed.
    pub cause: Option<String>,
    /// Calls that were counted in the window.
    pub calls: u32,
    /// How many of these failed because of the server.
    pub failed: u32,
    /// How many of these were slow.
    pub slow: u32,
    /// How often it has opened.
    pub opened: u64,
    /// Callers that were turned away.
    pub refused: u64,
    /// Probes that were made.
    pub probes: u64,
}

type Watch = Box<dyn Fn(&BreakerChange) + Send + Sync>;

pub(super) struct Shared<A> {
    pub(super) inner: A,
    machine: Mutex<Machine>,
    /// Wakes callers that wait when it opens.
    opened: Notify,
    started: Instant,
    slow_after: Option<Duration>,
    watch: Option<Watch>,
}

impl<A> Clone for Guarded<A> {
    fn clone(&self) -> Self {
        Guarded { shared: Arc::clone(&self.shared) }
    }
}

impl<A: Acquire> fmt::Debug for Guarded<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.status()).finish()
    }
}

impl<A: Acquire> Guarded<A> {
    /// Puts a breaker before `inner`.
    pub fn new(inner: A, config: BreakerConfig) -> Self {
        Guarded::build(inner, config, None)
    }

    /// The same, with `watch` told of every change of state. It must not block.
    pub fn watched(
        inner: A,
        config: BreakerConfig,
        watch: impl Fn(&BreakerChange) + Send + Sync + 'static,
    ) -> Self {
        Guarded::build(inner, config, Some(Box::new(watch)))
    }

    fn build(inner: A, config: BreakerConfig, watch: Option<Watch>) -> Self {
        let slow_after = config.slow_after;
        let machine = Mutex::new(Machine::new(config));
        Guarded {
            shared: Arc::new(Shared {
                inner,
                machine,
                opened: Notify::new(),
                started: Instant::now(),
                slow_after,
                watch,
            }),
        }
    }

    /// What is behind the breaker.
    pub fn inner(&self) -> &A {
        &self.shared.inner
    }

    /// What it does now and has done so far.
    pub fn status(&self) -> BreakerStatus {
        let now = self.shared.now();
        let mut machine = self.shared.machine();
        let tally = machine.tally(now);
        BreakerStatus {
            endpoint: self.shared.inner.endpoint().cloned(),
            state: machine.state(),
            cause: machine.cause().map(|cause| cause.to_string()),
            calls: tally.calls,
            failed: tally.failed,
            slow: tally.slow,
            opened: machine.opened,
            refused: machine.refused,
            probes: machine.probes,
        }
    }
}

impl<A: Acquire + Send + Sync + 'static> Acquire for Guarded<A> {
    type Conn = GuardedConnection<A>;

    async fn acquire_at(&self, site: Site) -> Result<Self::Conn> {
        admitted(&self.shared, &self.shared.inner, site).await
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.shared.inner.endpoint()
    }

    fn facts(&self, guarded: &Self::Conn) -> Facts {
        self.shared.inner.facts(&guarded.conn)
    }

    fn report(&self, guarded: &mut Self::Conn, what: Report) {
        report(&self.shared.inner, guarded, what);
    }

    fn begin_with(&self, guarded: &mut Self::Conn, opening: &Opening) -> bool {
        self.shared.inner.begin_with(&mut guarded.conn, opening)
    }

    fn server_down(&self, guarded: &Self::Conn) -> impl Future<Output = ()> + Send + use<A> {
        self.shared.inner.server_down(&guarded.conn)
    }
}

/// A connection from `from`, which is another way to the server of this breaker, or the breaker's own.
pub(super) async fn admitted<A, B>(
    shared: &Arc<Shared<A>>,
    from: &B,
    site: Site,
) -> Result<GuardedConnection<B>>
where
    A: Acquire + Send + Sync + 'static,
    B: Acquire,
{
    loop {
        // Listening before asking: it may open in between.
        let opened = shared.opened.notified();
        let admission = match shared.admit() {
            Ok(admission) => admission,
            Err(refusal) => {
                // Its task may have gone with the runtime that it ran on.
                probe::start(shared);
                return Err(shared.turned_away(refusal));
            }
        };
        let started = shared.now();
        let acquired = tokio::select! {
            biased;
            acquired = from.acquire_at(site) => acquired,
            () = opened => continue,
        };
        let guard = Arc::clone(shared) as Arc<dyn Guard>;
        return match acquired {
            Ok(conn) => Ok(GuardedConnection { conn, visit: Some(Visit::new(guard, admission, started)) }),
            Err(error) => {
                if error.class() == Class::Unavailable {
                    guard.record(admission, Call::Failed, &|| Arc::from(error.to_string()));
                }
                Err(error)
            }
        };
    }
}

/// Tells `from` and the breaker what work on a connection ran into.
pub(super) fn report<B: Acquire>(from: &B, guarded: &mut GuardedConnection<B>, what: Report) {
    let said = from.facts(&guarded.conn).failed_with;
    from.report(&mut guarded.conn, what);
    // A server that conflicts is well.
    if what != Report::Conflict {
        guarded.visit.iter_mut().for_each(|visit| {
            visit.failed(&|| match said {
                Some(code) => Arc::from(format!("work on a connection failed with SQLSTATE {code}")),
                None => Arc::from("a connection was lost, or did not answer"),
            });
        });
    }
}

impl<A: Acquire + EvictAll> EvictAll for Guarded<A> {
    fn evict_all(&self) {
        self.shared.inner.evict_all();
    }
}

impl<A: Acquire> Shared<A> {
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> Result<Admission, Refusal> {
        let now = self.now();
        self.machine().admit(now)
    }

    fn turned_away(&self, refusal: Refusal) -> Error {
        let Refusal { open_for, next_probe_in, cause } = refusal;
        let endpoint = self.inner.endpoint().cloned();
        Error::CircuitOpen(Box::new(CircuitOpen::new(endpoint, open_for, next_probe_in, &*cause)))
    }

    /// The server's name, for logs.
    pub(super) fn server(&self) -> String {
        self.inner.endpoint().map_or_else(|| "the database".to_owned(), ToString::to_string)
    }

    /// Tells of a change; without the lock, since the watcher may ask for the status.
    pub(super) fn tell(&self, state: BreakerState, cause: Option<&str>) {
        if let Some(watch) = &self.watch {
            let (endpoint, cause) = (self.inner.endpoint().cloned(), cause.map(str::to_owned));
            watch(&BreakerChange { endpoint, state, cause });
        }
    }
}

impl<A: Acquire + Send + Sync + 'static> Guard for Shared<A> {
    fn record(self: Arc<Self>, admission: Admission, call: Call, cause: &dyn Fn() -> Arc<str>) {
        let now = self.now();
        let opened = {
            let mut machine = self.machine();
            let opened = machine.record(now, admission, call, cause);
            opened.then(|| machine.cause().cloned()).flatten()
        };
        if let Some(cause) = opened {
            let server = self.server();
            tracing::warn!(endpoint = %server, %cause, "circuit open: callers are turned away at once");
            self.tell(BreakerState::Open, Some(&cause));
            self.opened.notify_waiters();
            probe::start(&self);
        }
    }

    fn is_slow(&self, started: Duration) -> bool {
        let elapsed = self.now().saturating_sub(started);
        self.slow_after.is_some_and(|limit| elapsed > limit)
    }
}
