//! What all handles of one pool, and its upkeep task, have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use db_core::{Class, Classify, Endpoint, Error};
use deadpool::unmanaged::{self, Object};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use crate::adaptive::{Parked, Question, Returns};
use crate::alarm::Alarm;
use crate::closing::Closing;
use crate::connector::Opened;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::gate::{Gate, Gatekeeper};
use crate::harmless::Named;
use crate::lease::Leases;
use crate::returning;
use crate::round_trip::RoundTrip;
use crate::slot::Slot;
use crate::{Connector, PoolConfig, Status};

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: Connector,
    pub(crate) config: PoolConfig,
    pub(crate) idle: unmanaged::Pool<Box<Slot>>,
    /// The most connections that may be open, ever.
    pub(crate) max: AtomicUsize,
    /// The most connections that may be in service now.
    pub(crate) limit: AtomicUsize,
    /// Connections above the limit, kept open for a pool that adapts it.
    pub(crate) parked: Parked,
    pub(crate) question: Question,
    pub(crate) returns: Returns,
    /// Connections that are being opened.
    pub(crate) opening: AtomicUsize,
    /// Whether the server left something unanswered that nobody waits for any more.
    pub(crate) unanswered: AtomicBool,
    /// Whether the server has stopped answering.
    pub(crate) stalled: AtomicBool,
    pub(crate) gate: Gatekeeper,
    /// Places for background work.
    pub(crate) background: Arc<Semaphore>,
    pub(crate) leases: Leases,
    /// Functions after which sessions are reset, as far as that was said.
    pub(crate) named: Named,
    /// How long the server's answers take on the way.
    pub(crate) round_trip: RoundTrip,
    /// Wakes the upkeep task: someone waits, or a connection went.
    pub(crate) demand: Arc<Notify>,
    /// Wakes a shutdown that waits for connections to come back.
    pub(crate) returned: Notify,
    /// Rings when the time of a caller that waits is up.
    pub(crate) alarm: Alarm,
    pub(crate) failure: Failure,
    /// Connections of an earlier generation are not used again.
    pub(crate) generation: AtomicU64,
    /// Statements that were prepared at a lower number have proved stale.
    pub(crate) statements: AtomicU64,
    pub(crate) runtime: Handle,
    pub(crate) counters: Counters,
}

impl Inner {
    pub(crate) fn new(
        connector: Connector,
        endpoint: Endpoint,
        config: PoolConfig,
        demand: Arc<Notify>,
    ) -> Self {
        Inner {
            endpoint,
            connector,
            idle: unmanaged::Pool::new(crate::Pool::LARGEST),
            max: AtomicUsize::new(config.max.get().min(crate::Pool::LARGEST)),
            limit: AtomicUsize::new(config.first_limit()),
            parked: Parked::default(),
            question: Question::default(),
            returns: Returns::default(),
            opening: AtomicUsize::new(0),
            unanswered: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            gate: Gatekeeper::default(),
            background: Arc::new(Semaphore::new(config.background_within(config.first_limit()))),
            leases: Leases::default(),
            named: Named::default(),
            round_trip: RoundTrip::default(),
            config,
            demand,
            returned: Notify::new(),
            alarm: Alarm::default(),
            failure: Failure::default(),
            generation: AtomicU64::new(0),
            statements: AtomicU64::new(0),
            runtime: Handle::current(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        AtomicUsize::load(&self.limit, Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate.now() == Gate::Closed
    }

    pub(crate) fn is_stalled(&self) -> bool {
        AtomicBool::load(&self.stalled, Ordering::Acquire)
    }

    pub(crate) fn open(&self) -> usize {
        self.idle.status().size
    }

    /// Connections that are open and not parked.
    pub(crate) fn in_service(&self) -> usize {
        self.open().saturating_sub(self.parked.count())
    }

    /// Whether more connections are in service than may be.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.in_service() > self.limit()
    }

    /// Whether a connection that comes back is one too many. Where the limit adapts, it is parked instead.
    pub(crate) fn has_too_many(&self) -> bool {
        self.config.adaptive.is_none() && self.is_over_limit()
    }

    /// Why the pool wants to keep no connection that comes back, if so.
    pub(crate) fn wants_to_close(&self) -> Option<Closing> {
        if self.is_closed() {
            return Some(Closing::Shutdown);
        }
        self.has_too_many().then_some(Closing::TooMany)
    }

    /// Whether another connection could be opened.
    pub(crate) fn has_room(&self) -> bool {
        self.in_service() + AtomicUsize::load(&self.opening, Ordering::Relaxed) < self.limit()
    }

    pub(crate) fn status(&self) -> Status {
        let held = self.idle.status();
        let mut status = Status::of(self.endpoint.clone());
        status.max = self.limit();
        status.open = held.size;
        status.idle = held.available;
        status.parked = self.parked.count();
        status.creating = AtomicUsize::load(&self.opening, Ordering::Relaxed);
        status.stalled = self.is_stalled();
        self.counters.write_to(&mut status);
        status
    }

    pub(crate) fn resize(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
        if self.config.adaptive.is_some() {
            self.limit.fetch_min(max, Ordering::Relaxed);
        } else {
            self.limit.store(max, Ordering::Relaxed);
        }
    }

    /// The server has left something unanswered: it is asked until it answers.
    pub(crate) fn left_unanswered(&self) {
        self.unanswered.store(true, Ordering::Release);
        self.demand.notify_one();
    }

    /// A connection has come back, and lies among the idle ones.
    pub(crate) fn came_back(&self) {
        // A shutdown closes the gate, then looks at the idle ones: either it finds this one, or this finds
        // the gate closed.
        fence(Ordering::SeqCst);
        if self.is_closed() {
            self.close_idle();
            self.returned.notify_waiters();
        }
    }

    /// A connection is gone.
    pub(crate) fn went(&self) {
        self.demand.notify_one();
        self.returned.notify_waiters();
    }

    /// Takes every idle connection in hand once, and keeps those that are still good; returns those that have
    /// been silent for so long that the server should be asked for a sign of life.
    pub(crate) fn retire_idle(self: &Arc<Self>) -> Vec<Object<Box<Slot>>> {
        let now = Instant::now();
        let (mut kept, mut silent) = (Vec::new(), Vec::new());
        for _ in 0..self.idle.status().available {
            let Ok(slot) = self.idle.try_get() else { break };
            let idle = slot.has_been_idle_for(self.config.idle_timeout, now);
            let unneeded = idle && self.open() > self.config.min;
            let gone = slot.spent(self, now).or(unneeded.then_some(Closing::Idle));
            if let Some(why) = gone.or_else(|| self.has_too_many().then_some(Closing::TooMany)) {
                returning::close(self, slot, why);
            } else if self.config.keepalive.is_some_and(|keepalive| slot.silent_for(now) > keepalive) {
                silent.push(slot);
            } else {
                kept.push(slot);
            }
        }
        // The pool is a stack: last out, first back in, so that the most recently used stays on top.
        kept.into_iter().rev().for_each(drop);
        silent
    }

    /// Closes the idle connections.
    pub(crate) fn close_idle(&self) {
        while let Some(slot) = self.idle.try_get().ok().or_else(|| self.parked.take_out()) {
            Closing::Shutdown.log(&self.endpoint);
            self.counters.destroyed();
            drop(Object::take(slot));
        }
    }

    /// Hands out no connection ever again.
    pub(crate) fn close(&self) {
        self.gate.set(Gate::Closed);
        fence(Ordering::SeqCst);
        self.failure.tell_waiters();
        self.close_idle();
        self.demand.notify_one();
    }

    pub(crate) fn add(self: &Arc<Self>, opened: Opened, elapsed: Duration) {
        self.counters.creates.record(elapsed);
        tracing::debug!(endpoint = %self.endpoint, ?elapsed, open = self.open() + 1, "a connection is open");
        self.failure.clear();
        self.round_trip.note(opened.round_trip);
        // The upkeep task alone adds, and only where there is room.
        if self.idle.try_add(Box::new(Slot::new(opened, self))).is_err() {
            self.counters.destroyed();
        }
        self.came_back();
    }

    /// Waits until it is clear that no connection will come in time: the pool is closed, an attempt to
    /// connect, made since `started`, shows that none will succeed; or, which is no error yet, it is later
    /// than `deadline`.
    pub(crate) async fn no_hope(
        &self,
        started: Instant,
        deadline: Option<tokio::time::Instant>,
    ) -> Option<Error> {
        let mut now = tokio::time::Instant::from_std(started);
        loop {
            // Listened to before anything is looked at: what happens in between is not missed.
            let told = self.failure.told();
            if self.is_closed() {
                return Some(Error::PoolClosed { endpoint: self.endpoint.clone() });
            }
            if let Some(error) = self.failure.since(started)
                && error.failure.class() == Class::Permanent
                && self.open() == 0
            {
                return Some(error.into());
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            if let Some(deadline) = deadline {
                self.alarm.set(deadline);
            }
            told.await;
            now = tokio::time::Instant::now();
        }
    }

    /// The error of a caller that waited for as long as it was willing to.
    pub(crate) fn gave_up(&self, started: Instant) -> Error {
        self.counters.timed_out();
        let silent = || self.connector.silent_source(&self.endpoint, started.elapsed());
        let failed = self.failure.since(started).or_else(silent);
        if let Some(mut error) = failed.filter(|_| self.open() == 0) {
            error.ends_the_wait = true;
            return error.into();
        }
        let (status, now) = (self.status(), Instant::now());
        Error::PoolTimeout {
            endpoint: self.endpoint.clone(),
            waited: started.elapsed(),
            open: status.open,
            idle: status.idle,
            waiting: status.waiting,
            max: status.max,
            oldest: self.leases.holders(now).into_iter().next().map(Box::new),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The tasks find the pool gone and end.
        self.demand.notify_one();
        self.alarm.touch();
    }
}
