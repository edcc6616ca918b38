//! A TCP proxy on loopback that makes networks fail on command.
//!
//! It works on its own thread, so that it goes on while a test blocks its runtime or pauses its clock, and so
//! that dropping it leaves nothing behind: when `drop` returns, its port, its connections and its thread are
//! gone.

mod accept;
mod counters;
mod exchanges;
mod link;
mod plan;
mod pump;
mod sql;
mod wire;
#[cfg(test)]
mod wire_tests;

pub use counters::Counters;
pub use exchanges::Exchange;
pub use plan::{CommitCut, Direction};

use crate::address;
use crate::error::TestkitError;
use crate::own_thread::OwnThread;
use plan::{Mode, Plan};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long the proxy's own thread may take to open or close its port.
const SWITCHED_WITHIN: Duration = Duration::from_secs(10);

/// A TCP proxy in front of a server, with faults that are switched on and off while it runs.
///
/// Faults are in force for open and for new connections as soon as the method returns. Latency, throttle,
/// byte counts and commit cuts add up; [`refuse`](Self::refuse), [`blackhole`](Self::blackhole) and
/// [`stall`](Self::stall) replace one another; [`heal`](Self::heal) takes everything back.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: OwnThread,
}

#[derive(Debug)]
struct Shared {
    plan: watch::Sender<Plan>,
    target: Mutex<SocketAddr>,
    counters: counters::Tally,
    listening: Mutex<bool>,
    listening_changed: Condvar,
    /// What passed, where that is written down.
    exchanges: Mutex<Option<Vec<Exchange>>>,
}

impl Proxy {
    /// Listens on a free loopback port and passes connections on to `target`.
    ///
    /// # Errors
    /// When `target` resolves to no address or no port can be had.
    pub fn start(target: impl ToSocketAddrs) -> Result<Self, TestkitError> {
        let target = resolve(target)?;
        let failed = |source| TestkitError::Proxy { target, source };
        let shared = Arc::new(Shared {
            plan: watch::Sender::new(Plan::default()),
            target: Mutex::new(target),
            counters: counters::Tally::default(),
            listening: Mutex::new(true),
            listening_changed: Condvar::new(),
            exchanges: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        let begin = |stopped| {
            let port = accept::Port::reserve()?;
            let listener = port.listen()?;
            Ok((port.address, accept::run(served, port, listener, stopped)))
        };
        let (thread, address) = OwnThread::start("proxy", begin).map_err(failed)?;
        Ok(Self { address, shared, _thread: thread })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`address`](Self::address).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `url` with its host and port replaced by the proxy's: the same database, through the proxy.
    ///
    /// # Errors
    /// When `url` is no URL with one host. (The error does not show it: it may hold a password.)
    pub fn through(&self, url: &str) -> Result<String, TestkitError> {
        address::through(url, &self.address.to_string())
    }

    /// Passes new connections on to another server, as an address that moves in a failover does.
    ///
    /// # Errors
    /// When `target` resolves to no address.
    pub fn redirect(&self, target: impl ToSocketAddrs) -> Result<(), TestkitError> {
        *lock(&self.shared.target) = resolve(target)?;
        Ok(())
    }

    /// What has passed so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters.snapshot()
    }

    /// Writes down from now on when each request comes and when its answer goes: on connections that are
    /// opened later, and that use no TLS. It keeps all of them until
    /// [`take_exchanges`](Self::take_exchanges).
    pub fn write_down(&self) {
        lock(&self.shared.exchanges).get_or_insert_default();
    }

    /// The requests that were answered since the last call, those of one connection in their order. Empty
    /// unless they are [written down](Self::write_down).
    #[must_use]
    pub fn take_exchanges(&self) -> Vec<Exchange> {
        lock(&self.shared.exchanges).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Resets every open connection, on both sides. New ones are served.
    pub fn cut(&self) {
        self.change(|plan| plan.cuts += 1);
    }

    /// Closes the server's side of every open connection without telling its client, which goes on writing
    /// into nowhere until it gives up or [`cut`](Self::cut) is called. New ones are served.
    pub fn half_open(&self) {
        self.change(|plan| plan.half_opens += 1);
    }

    /// Refuses new connections, as a host where nobody listens does. Open ones are served.
    pub fn refuse(&self) {
        self.mode(Mode::Refuse);
    }

    /// Accepts connections, swallows all bytes both ways and answers nothing, as a firewall that drops
    /// packets does.
    ///
    /// Once healed, a connection that lost bytes is reset; one that lost none goes on.
    pub fn blackhole(&self) {
        self.mode(Mode::Blackhole);
    }

    /// Accepts connections and lets no byte through either way, as a server that hangs does. Once healed,
    /// every byte arrives.
    pub fn stall(&self) {
        self.mode(Mode::Stall);
    }

    /// Delays all bytes of one direction by `latency`, plus a random share of `jitter`. Bytes keep their
    /// order and their rate.
    pub fn delay(&self, direction: Direction, latency: Duration, jitter: Duration) {
        self.change(|plan| {
            let shape = plan.shape_mut(direction);
            (shape.latency, shape.jitter) = (latency, jitter);
        });
    }

    /// Lets so many bytes a second through on each connection, in one direction.
    pub fn throttle(&self, direction: Direction, bytes_per_second: NonZeroU64) {
        self.change(|plan| plan.shape_mut(direction).bytes_per_second = Some(bytes_per_second.get()));
    }

    /// Resets each connection, open or new, once so many more bytes have passed on it in one direction.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.change(|plan| {
            let shape = plan.shape_mut(direction);
            shape.cut_after = Some(bytes);
            shape.cut_after_set += 1;
        });
    }

    /// Cuts the next `count` connections on which the client sends a COMMIT.
    ///
    /// A COMMIT is one in a simple query, alone or among other statements, or a prepared one that is
    /// executed. `END` is its synonym. It is not seen on a connection that uses TLS: connect with
    /// `sslmode=disable`.
    pub fn cut_commits(&self, count: u64, when: CommitCut) {
        self.change(|plan| (plan.commits, plan.commit_cut) = (count, Some(when)));
    }

    /// Takes every fault back. Connections that were reset or are half open stay so.
    pub fn heal(&self) {
        self.change(Plan::heal);
        self.await_listening(true);
    }

    fn mode(&self, mode: Mode) {
        self.change(|plan| plan.mode = mode);
        self.await_listening(mode != Mode::Refuse);
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        self.shared.plan.send_modify(change);
    }

    fn await_listening(&self, wanted: bool) {
        let listening = lock(&self.shared.listening);
        let waited = self
            .shared
            .listening_changed
            .wait_timeout_while(listening, SWITCHED_WITHIN, |now| *now != wanted);
        if waited.map_or(true, |(_, timeout)| timeout.timed_out()) {
            tracing::error!(port = self.port(), wanted, "the proxy did not switch its port in time");
        }
    }
}

impl Shared {
    fn target(&self) -> SocketAddr {
        *lock(&self.target)
    }

    /// Follows a new connection, where what passes is written down.
    fn follower(&self) -> Option<exchanges::Follower> {
        lock(&self.exchanges).as_ref().map(|_| exchanges::Follower::new())
    }

    fn take_commit(&self) -> Option<CommitCut> {
        let mut taken = None;
        self.plan.send_if_modified(|plan| {
            taken = plan.take_commit();
            taken.is_some()
        });
        taken
    }
}

fn resolve(target: impl ToSocketAddrs) -> Result<SocketAddr, TestkitError> {
    let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    target
        .to_socket_addrs()
        .and_then(|mut addresses| addresses.next().ok_or_else(no_address))
        .map_err(TestkitError::Target)
}

/// Locks; a panic elsewhere while it was held left these plain values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
