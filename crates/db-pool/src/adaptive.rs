//! Finds out on the live load how many connections are enough, within what the server has room for.
//!
//! The upkeep task takes a sample of the pool ten times a second and hands it to the [`search`](Adaptive),
//! which answers with a limit. Connections above the limit are parked, not closed. Every now and then the
//! server is asked, on one of the pool's own connections, how many it has left.

mod background;
mod kinds;
mod parked;
mod question;
mod room;
mod search;
#[cfg(test)]
mod simulation;
mod trial;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use db_core::ConnectFailure;

use background::Background;
pub(crate) use kinds::Returns;
use kinds::{Kinds, Site};
pub(crate) use parked::Parked;
use question::Answer;
pub(crate) use question::Question;
use room::Room;
use search::{Adaptive, Sample};

use crate::inner::Inner;

/// How often the limit is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How soon the server is asked again where its room bounds the limit.
const ASK_SOON: Duration = Duration::from_millis(400);

/// Lets a pool find the number of connections that gives the most throughput.
///
/// [`PoolConfig::max`](crate::PoolConfig::max) remains the most that it ever opens. While callers wait, the
/// pool tries a larger and a smaller limit in turns of half a second, and keeps the smallest one beyond which
/// throughput hardly grows. While nobody waits it learns nothing and leaves the limit as it is. It looks at
/// throughput alone: statements that take long because of a lock, or because they are of another kind, are no
/// sign of a server that has too much to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptiveConfig {
    /// The limit is never below this, except where the server refuses connections.
    pub min: NonZeroUsize,
    /// The limit that a new pool begins with.
    pub start: NonZeroUsize,
    /// Connections of the server's `max_connections` that stay free for others, beside those that it keeps
    /// for superusers (`superuser_reserved_connections`, `reserved_connections`).
    ///
    /// Several processes with such pools share the rest.
    pub leave_free: usize,
    /// How often the server is asked how many connections it has left.
    pub ask_interval: Duration,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        let some = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        AdaptiveConfig { min: some(2), start: some(4), leave_free: 5, ask_interval: Duration::from_secs(2) }
    }
}

/// What the upkeep task needs to adapt the limit.
pub(crate) struct Driver {
    config: AdaptiveConfig,
    search: Adaptive,
    room: Room,
    sampled_at: Instant,
    asked_at: Option<Instant>,
    kinds: Kinds<Site>,
    background: Background,
}

impl Driver {
    pub(crate) fn new(config: AdaptiveConfig, pool: &Inner) -> Self {
        Driver {
            search: Adaptive::new(config.min.get(), config.start.get()),
            room: Room::new(config.leave_free, config.start.get().max(config.min.get())),
            config,
            sampled_at: Instant::now(),
            asked_at: None,
            kinds: Kinds::default(),
            background: Background::new(pool),
        }
    }

    /// Adapts the limit if it is time to; returns when it is time again.
    pub(crate) fn drive(&mut self, pool: &Arc<Inner>) -> Instant {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.sampled_at);
        if elapsed >= INTERVAL {
            self.look_for_room(pool);
            let before = pool.limit();
            let sample = self.sample(pool, elapsed);
            let limit = self.search.sample(&sample).min(self.room.granted());
            pool.limit.store(limit, Ordering::Relaxed);
            if limit != before {
                tracing::debug!(endpoint = %pool.endpoint, limit, best = self.search.base(), "another limit");
            }
            let reach = self.search.reach().min(self.ceiling(pool));
            pool.parked.rebalance(pool, reach.saturating_sub(limit));
            self.background.follow(pool, self.search.base());
            self.ask(pool, now);
            self.sampled_at = now;
        }
        self.sampled_at + INTERVAL
    }

    fn ceiling(&self, pool: &Inner) -> usize {
        self.room.most().min(AtomicUsize::load(&pool.max, Ordering::Relaxed))
    }

    fn sample(&mut self, pool: &Inner, elapsed: Duration) -> Sample {
        let seen = pool.returns.take();
        let releases = seen.values().map(|held| held.count as u64).sum();
        let held = Duration::from_secs_f64(seen.values().map(|held| held.seconds).sum());
        Sample {
            elapsed,
            releases,
            work: self.kinds.work(seen, self.search.is_at_rest()),
            held,
            waiting: pool.counters.waiting(),
            in_use: pool.in_service().saturating_sub(pool.idle.status().available),
            in_service: pool.in_service(),
            ceiling: self.ceiling(pool),
        }
    }

    /// Notes what the server has said about its room, asked or not.
    fn look_for_room(&mut self, pool: &Inner) {
        if let Some(error) = pool.failure.since(self.sampled_at)
            && error.failure == ConnectFailure::TooManyConnections
        {
            self.room.is_full(pool.open());
        }
        match pool.question.answer() {
            Some(Answer::Free { free, open }) => self.room.has(free, open),
            Some(Answer::Unknown) => self.room.is_unknown(),
            None => {}
        }
    }

    /// Asks the server how many connections it has left, if it is time to.
    fn ask(&mut self, pool: &Arc<Inner>, now: Instant) {
        let wanted = self.search.reach().min(AtomicUsize::load(&pool.max, Ordering::Relaxed));
        let bound = self.room.granted() < wanted;
        let pause = if bound { ASK_SOON.min(self.config.ask_interval) } else { self.config.ask_interval };
        if self.asked_at.is_none_or(|asked| now.saturating_duration_since(asked) >= pause) {
            self.asked_at = Some(now);
            pool.question.raise();
            if let Some(slot) = pool.idle.try_get().ok().or_else(|| pool.parked.take_out()) {
                drop(Question::offer(pool, slot));
            }
        }
    }
}
