//! The one task that opens a pool's connections, and closes those that are no longer wanted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use db_core::{ConnectFailure, Error, Result};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use crate::adaptive::Driver;
use crate::backoff;
use crate::closing::Closing;
use crate::connector::Opened;
use crate::inner::Inner;
use crate::returning;
use crate::stall::{self, StallWatch};

/// Connections that may be being opened at once. Few: a connection that comes back meanwhile is cheaper, and
/// a server that just came up must not be met by a stampede.
const OPENING_AT_ONCE: usize = 2;

/// How long a pool goes without upkeep that panicked.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the upkeep, again where it panicked: callers wait for what it opens.
pub(crate) async fn supervise<F: Future<Output = ()> + Send + 'static>(upkeep: impl Fn() -> F) {
    loop {
        match tokio::spawn(upkeep()).await {
            Err(error) if error.is_panic() => {
                tracing::error!(
                    "a pool's upkeep panicked, which is a defect of db-pool; it goes on in {PAUSE:?}"
                );
            }
            // The pool is gone, or the runtime ends.
            _ => return,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) struct Upkeep {
    pool: Weak<Inner>,
    demand: Arc<Notify>,
    opening: JoinSet<Result<(Opened, Duration)>>,
    opening_since: Option<Instant>,
    stalls: StallWatch,
    adaptive: Option<Driver>,
    failures: u32,
    not_before: Instant,
}

impl Upkeep {
    pub(crate) fn new(pool: Weak<Inner>, demand: Arc<Notify>) -> Self {
        Upkeep {
            pool,
            demand,
            opening: JoinSet::new(),
            opening_since: None,
            stalls: StallWatch::default(),
            adaptive: None,
            failures: 0,
            not_before: Instant::now(),
        }
    }

    /// Runs until the pool is closed or dropped.
    pub(crate) async fn run(mut self) {
        let (mut retire_at, mut look_at) = (Instant::now(), Instant::now());
        loop {
            let Some(pool) = self.pool.upgrade().filter(|pool| !pool.is_closed()) else { return };
            if Instant::now() >= retire_at {
                look_after(&pool);
                retire_at = Instant::now() + retire_interval(&pool);
            }
            if Instant::now() >= look_at {
                self.stalls.look(&pool, self.opening_since);
                look_at = Instant::now() + stall::INTERVAL;
            }
            let adapt_at = self.adapt(&pool);
            let blocked = self.open_missing(&pool);
            self.opening_since =
                (!self.opening.is_empty()).then(|| self.opening_since.unwrap_or_else(Instant::now));
            pool.opening.store(self.opening.len(), Ordering::Relaxed);
            drop(pool);
            let next = retire_at.min(look_at).min(adapt_at.unwrap_or(look_at));
            let wake_at = if blocked { next.min(self.not_before) } else { next };
            tokio::select! {
                Some(joined) = self.opening.join_next(), if !self.opening.is_empty() => {
                    self.opened(joined);
                }
                answered = self.stalls.answered() => {
                    let Some(pool) = self.pool.upgrade() else { return };
                    stall::note(&pool, answered);
                }
                () = self.demand.notified() => {}
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
        }
    }

    /// Adapts the limit where that was asked for; returns when it wants to look at it again.
    fn adapt(&mut self, pool: &Arc<Inner>) -> Option<Instant> {
        let config = pool.config.adaptive.as_ref()?;
        Some(self.adaptive.get_or_insert_with(|| Driver::new(config.clone(), pool)).drive(pool))
    }

    /// Starts to open what is missing; whether more is wanted than may be tried now.
    fn open_missing(&mut self, pool: &Inner) -> bool {
        let (in_service, opening) = (pool.in_service(), self.opening.len());
        let below_min = pool.config.min.saturating_sub(in_service + opening);
        // One that has come back is on its way to a waiter who has not looked yet.
        let for_waiters = pool.counters.waiting().saturating_sub(opening + pool.idle.status().available);
        let room = pool.limit().saturating_sub(in_service + opening);
        let wanted = below_min.max(for_waiters).min(room);
        if wanted == 0 {
            return false;
        }
        if Instant::now() < self.not_before {
            return true;
        }
        // After a failure one attempt at a time finds out whether the server is back.
        let at_once = if self.failures > 0 { 1 } else { OPENING_AT_ONCE };
        for _ in 0..wanted.min(at_once.saturating_sub(opening)) {
            let (connector, endpoint) = (pool.connector.clone(), pool.endpoint.clone());
            let leases = pool.leases.clone();
            self.opening.spawn(async move {
                let started = Instant::now();
                let opened = connector.open(&endpoint, &|wire: &_| leases.add(wire)).await?;
                Ok((opened, started.elapsed()))
            });
        }
        false
    }

    fn opened(&mut self, joined: Result<Result<(Opened, Duration)>, JoinError>) {
        let Some(pool) = self.pool.upgrade() else { return };
        // What panicked is an attempt that failed: the next one comes after a pause.
        let panicked = |error: JoinError| pool.connector.panicked(&pool.endpoint, &error).into();
        match joined.unwrap_or_else(|error| Err(panicked(error))) {
            Ok((opened, elapsed)) => {
                if self.failures > 0 {
                    tracing::info!(endpoint = %pool.endpoint, attempts = self.failures, "connected again");
                }
                self.failures = 0;
                pool.opening.store(self.opening.len(), Ordering::Relaxed);
                pool.add(opened, elapsed);
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(endpoint = %pool.endpoint, %error, "cannot open connections");
                }
                self.failures = self.failures.saturating_add(1);
                self.not_before = backoff::next_attempt(self.failures);
                pool.counters.connect_failed();
                if let Error::Connect(error) = error {
                    if error.failure == ConnectFailure::TimedOut {
                        pool.left_unanswered();
                    }
                    pool.failure.set(*error);
                }
            }
        }
    }
}

/// Closes what is no longer wanted, asks those for a sign of life that have long been silent, reports leaks.
fn look_after(pool: &Arc<Inner>) {
    for mut slot in pool.retire_idle() {
        let pool = Arc::clone(pool);
        tokio::spawn(async move {
            if slot.answers(&pool).await {
                drop(slot);
                pool.came_back();
            } else {
                returning::close(&pool, slot, Closing::Silent);
            }
        });
    }
    if let Some(threshold) = pool.config.leak_threshold {
        let found = pool.leases.report_leaks(&pool.endpoint, threshold, Instant::now());
        (0..found).for_each(|_| pool.counters.leaked());
    }
}

fn retire_interval(pool: &Inner) -> Duration {
    let config = &pool.config;
    let limits = [config.idle_timeout, config.max_lifetime, config.keepalive, config.leak_threshold];
    let shortest = limits.into_iter().flatten().min().unwrap_or(Duration::MAX);
    (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn upkeep_that_panics_comes_back_after_a_pause_and_ends_when_it_ends() {
        let begun = tokio::time::Instant::now();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        supervise(move || {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            async move { assert!(run == 2, "on purpose") }
        })
        .await;
        assert_eq!(AtomicUsize::load(&runs, Ordering::Relaxed), 3);
        assert!(begun.elapsed() >= PAUSE * 2, "{:?}", begun.elapsed());
    }
}
