//! One node: where it is, where its connections come from, what was seen of it, and how many reads run on it now.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use db_core::{Endpoint, Role};
use tokio::sync::watch;

use crate::config::NodeConfig;
use crate::counts::Reads;
use crate::ejection::Ejection;
use crate::seen::{Seen, Sighting};
use crate::token::Token;
use crate::vitals::Vitals;

/// Latencies below this do not tell nodes apart: on a busy machine they are its scheduler's.
const NOISE_MICROS: f32 = 1_000.0;

/// It is down, or no standby.
const NOT_USABLE: u64 = u64::MAX;

/// It is a standby, and nobody knows how far behind.
const UNKNOWN: u64 = u64::MAX - 1;

/// The lag that is allowed, in microseconds; without bound it allows an unknown lag, too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed(u64);

impl From<Duration> for Allowed {
    fn from(lag: Duration) -> Self {
        Allowed(u64::try_from(lag.as_micros()).unwrap_or(UNKNOWN).min(UNKNOWN))
    }
}

#[derive(Debug)]
pub(crate) struct Node<A> {
    /// Its place among the nodes.
    pub(crate) number: usize,
    pub(crate) config: NodeConfig,
    /// Whether it stands in our own zone.
    pub(crate) near: bool,
    /// Opens plain: it serves reads while the node is a standby, and writes once it is the primary.
    pub(crate) plain: A,
    /// Its sessions refuse writes; opened when the node first answers a read as the primary.
    pub(crate) read_only: OnceLock<A>,
    pub(crate) seen: watch::Sender<Seen>,
    /// How far behind it is in microseconds, where it may answer reads at all; else `NOT_USABLE`. What every read looks at.
    lag_micros: AtomicU64,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) ejection: Ejection,
    /// One by the weight that it has now, as the bits of an `f32`: it has less after it came back.
    per_capacity: AtomicU32,
    /// Whether it is a primary that must not be written to.
    pub(crate) fenced: AtomicBool,
    /// Whether it answers no reads as a standby, by the will of whoever runs it.
    withheld: AtomicBool,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) reads: Reads,
    pub(crate) probes: AtomicU64,
    /// Those of them that were made early because a read waited for it to catch up.
    pub(crate) token_probes: AtomicU64,
    trouble: Mutex<Option<String>>,
    /// Which server answered last, by when it was started.
    server: Mutex<Option<i64>>,
}

impl<A> Node<A> {
    pub(crate) fn new(number: usize, config: NodeConfig, near: bool, plain: A, vitals: Arc<Vitals>) -> Self {
        let (capacity, withheld) = (per_capacity(&config, 1.0), !config.reads);
        Node {
            number,
            config,
            near,
            plain,
            read_only: OnceLock::new(),
            seen: watch::Sender::new(Seen::Nothing),
            lag_micros: AtomicU64::new(NOT_USABLE),
            vitals,
            ejection: Ejection::default(),
            per_capacity: AtomicU32::new(capacity),
            fenced: AtomicBool::new(false),
            withheld: AtomicBool::new(withheld),
            in_flight: AtomicUsize::new(0),
            reads: Reads::default(),
            probes: AtomicU64::new(0),
            token_probes: AtomicU64::new(0),
            trouble: Mutex::new(None),
            server: Mutex::new(None),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.config.endpoint
    }

    /// Whether it is a standby that is alive and no staler than `allowed`.
    pub(crate) fn is_fresh(&self, allowed: Duration) -> bool {
        self.is_fresh_for(Allowed::from(allowed))
    }

    pub(crate) fn is_fresh_for(&self, allowed: Allowed) -> bool {
        AtomicU64::load(&self.lag_micros, Ordering::Acquire) <= allowed.0
    }

    /// Takes in what was seen of it, and returns what was seen before.
    pub(crate) fn see(&self, seen: Seen) -> Seen {
        let lag = match seen.up() {
            Some(Sighting { role: Role::Standby, lag, .. }) if !self.is_withheld() => {
                lag.map_or(UNKNOWN, |lag| Allowed::from(lag).0)
            }
            _ => NOT_USABLE,
        };
        self.lag_micros.store(lag, Ordering::Release);
        self.seen.send_replace(seen)
    }

    /// Whether it answers no reads as a standby, by the will of whoever runs it.
    pub(crate) fn is_withheld(&self) -> bool {
        AtomicBool::load(&self.withheld, Ordering::Relaxed)
    }

    /// Keeps it from reads, or lets it answer them, from its next probe on.
    pub(crate) fn withhold(&self, withheld: bool) {
        if self.withheld.swap(withheld, Ordering::Relaxed) != withheld {
            tracing::info!(endpoint = %self.endpoint(), withheld, "node is kept from reads, or no longer");
        }
    }

    /// It was found to belong to another cluster.
    pub(crate) fn estrange(&self, system: u64, expected: u64) {
        let trouble = format!("it belongs to another cluster: system identifier {system}, not {expected}");
        if self.set_trouble(Some(trouble.clone())).as_ref() != Some(&trouble) {
            tracing::error!(endpoint = %self.endpoint(), "{trouble}");
        }
    }

    /// Whether it is a standby that has surely replayed what the token stands for.
    pub(crate) fn has_replayed(&self, token: &Token) -> bool {
        // A lost connection may mean that the server crashed, and came back to an earlier position.
        if !self.config.one_server || self.vitals.is_doubted() {
            return false;
        }
        let seen = self.seen.borrow().up().filter(|sighting| sighting.role == Role::Standby);
        seen.is_some_and(|sighting| {
            sighting.is_of(token) && sighting.position.is_some_and(|position| position >= token.position)
        })
    }

    /// Whether it is a standby that has surely replayed whatever was committed before this moment.
    pub(crate) fn covers(&self, moment: Instant) -> bool {
        let seen = self.seen.borrow().up().and_then(|sighting| sighting.covers);
        !self.vitals.is_doubted() && seen.is_some_and(|covers| covers >= moment)
    }

    /// Takes it out of use until a probe finds it alive.
    pub(crate) fn suspect(&self) {
        self.seen.send_if_modified(|seen| {
            let up = matches!(seen, Seen::Up(_));
            if up {
                *seen = Seen::Suspect;
                self.lag_micros.store(NOT_USABLE, Ordering::Release);
            }
            up
        });
    }

    /// How loaded it is, relative to what it can take.
    pub(crate) fn load(&self) -> f32 {
        let in_flight = AtomicUsize::load(&self.in_flight, Ordering::Relaxed) as f32 + 1.0;
        let per_capacity = f32::from_bits(AtomicU32::load(&self.per_capacity, Ordering::Relaxed));
        in_flight * self.vitals.latency_micros().max(NOISE_MICROS) * per_capacity
    }

    /// Whether it has a read under way, and nobody knows how fast it answers.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.vitals.latency_micros() == 0.0 && AtomicUsize::load(&self.in_flight, Ordering::Relaxed) > 0
    }

    /// Sets the share of its weight that it gets from now on.
    pub(crate) fn set_share(&self, share: f32) {
        self.per_capacity.store(per_capacity(&self.config, share), Ordering::Relaxed);
    }

    /// Whether another server answers than the last time, or the same one after a restart.
    pub(crate) fn is_another_server(&self, started: Option<i64>) -> bool {
        let before =
            std::mem::replace(&mut *self.server.lock().unwrap_or_else(PoisonError::into_inner), started);
        before.is_some() && before != started
    }

    /// Why the last probe failed; none after one that succeeded.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps why the last probe failed, and returns why the one before did.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble)
    }

    /// Waits until it is out of use.
    pub(crate) async fn left(&self) {
        self.until(|seen| !matches!(seen, Seen::Up(_))).await;
    }

    /// Waits until a probe has failed.
    pub(crate) async fn went_down(&self) {
        self.until(|seen| *seen == Seen::Down).await;
    }

    async fn until(&self, condition: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        if seen.wait_for(condition).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn per_capacity(config: &NodeConfig, share: f32) -> u32 {
    (1.0 / (config.weight.get() as f32 * share.clamp(0.1, 1.0))).to_bits()
}
