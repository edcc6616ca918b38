//! One node: where it is, where its connections come from, what was seen of it, and how many reads run on it
//! now.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use db_core::{Endpoint, Role, ServerId};
use tokio::sync::watch;

use crate::config::NodeConfig;
use crate::counts::Reads;
use crate::ejection::Ejection;
use crate::lines::Lines;
use crate::moment::Moment;
use crate::seen::{Seen, Sighting};
use crate::vitals::Vitals;
use crate::waiting::Room;

/// Latencies below this do not tell nodes apart: on a busy machine they are its scheduler's.
const NOISE_MICROS: f32 = 1_000.0;

/// It is down, or no standby.
const NOT_USABLE: u64 = 0;

/// It is a standby, and nobody knows how far behind.
const UNKNOWN: u64 = 1;

/// So many servers behind one name are remembered, and as many runs of them.
pub(crate) const MOST_SERVERS: usize = 8;

/// So many reads at most look for a connection to another server behind one name: each keeps some connections
/// from others meanwhile.
const SEARCHES: usize = 2;

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
    /// The moment as of which it surely had everything, where it may answer reads at all; else `NOT_USABLE`.
    /// What every read looks at: that moment's age is the lag, so that a measurement grows old by itself.
    current_as_of: AtomicU64,
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
    /// The servers that answered here, by when each was started; the one that answered last comes last.
    runs: Mutex<VecDeque<i64>>,
    /// Whether its name was seen to lead to several servers by turns.
    alternates: AtomicBool,
    /// What the servers behind its name told, where there are several.
    backends: Mutex<Vec<Sighting>>,
    /// Whether a connection led to a server that nobody has asked, or nobody has looked yet.
    stranger: AtomicBool,
    /// Reads that look for a connection to another one of these servers.
    pub(crate) searches: Room,
    /// Whether its source does not tell which server a connection leads to.
    pub(crate) nameless: AtomicBool,
    /// How long its next probe may take, in microseconds.
    pub(crate) probe_deadline: AtomicU64,
    /// Bounds what is logged of it.
    pub(crate) lines: Lines,
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
            current_as_of: AtomicU64::new(NOT_USABLE),
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
            runs: Mutex::default(),
            alternates: AtomicBool::new(false),
            backends: Mutex::default(),
            stranger: AtomicBool::new(true),
            searches: Room::new(SEARCHES),
            nameless: AtomicBool::new(false),
            probe_deadline: AtomicU64::new(0),
            lines: Lines::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.config.endpoint
    }

    /// Whether it is a standby that is alive and may answer reads, however stale they are.
    pub(crate) fn is_standby(&self) -> bool {
        AtomicU64::load(&self.current_as_of, Ordering::Acquire) != NOT_USABLE
    }

    /// Whether it is a standby that is alive and surely had everything at this moment.
    pub(crate) fn is_current_as_of(&self, moment: Moment) -> bool {
        AtomicU64::load(&self.current_as_of, Ordering::Acquire) >= moment.number()
    }

    /// Whether it is a standby that is alive and no staler than `allowed` now.
    pub(crate) fn is_fresh(&self, allowed: Duration) -> bool {
        self.is_current_as_of(Moment::now().before(allowed))
    }

    /// Whether a read that waits this long may see it catch up: not where it is known to be further behind,
    /// or where the read's connection need not lead to the server that was asked.
    pub(crate) fn catches_up_within(&self, wait: Duration) -> bool {
        let lag = self.seen.borrow().up().and_then(|sighting| sighting.lag);
        self.is_standby()
            && !self.leads_to_several()
            && !AtomicBool::load(&self.nameless, Ordering::Relaxed)
            && lag.is_some_and(|lag| lag <= wait)
    }

    /// Takes in what was seen of it, and returns what was seen before.
    pub(crate) fn see(&self, seen: Seen) -> Seen {
        let as_of = match seen.up() {
            Some(sighting) if sighting.role == Role::Standby && !self.is_withheld() => {
                sighting.current_as_of().map_or(UNKNOWN, Moment::number)
            }
            _ => NOT_USABLE,
        };
        self.current_as_of.store(as_of, Ordering::Release);
        self.seen.send_replace(seen)
    }

    /// Whether it answers no reads as a standby, by the will of whoever runs it.
    pub(crate) fn is_withheld(&self) -> bool {
        AtomicBool::load(&self.withheld, Ordering::Relaxed)
    }

    /// Keeps it from reads, or lets it answer them, from its next probe on.
    #[cfg(feature = "patroni")]
    pub(crate) fn withhold(&self, withheld: bool) {
        if self.withheld.swap(withheld, Ordering::Relaxed) != withheld {
            tracing::info!(endpoint = %self.endpoint(), withheld, "node is kept from reads, or no longer");
        }
    }

    /// It was found to belong to another cluster.
    pub(crate) fn estrange(&self, system: u64, expected: u64) {
        let trouble = format!(
            "it belongs to another cluster: system identifier {system}, not {expected}; start this \
             process anew if that is the one to use, or let the router follow it (new_cluster)"
        );
        if self.set_trouble(Some(trouble.clone())).as_ref() != Some(&trouble) && self.lines.admit() {
            tracing::error!(endpoint = %self.endpoint(), "a node is not used: {trouble}");
        }
    }

    /// Whether what was seen of it last holds now, and this holds of that.
    pub(crate) fn surely(&self, holds: impl FnOnce(&Sighting) -> bool) -> bool {
        // A lost connection may mean that the server crashed, and came back to an earlier position.
        !self.vitals.is_doubted() && self.seen.borrow().up().is_some_and(|sighting| holds(&sighting))
    }

    /// Whether this holds of one of the servers behind its name, where there are several.
    pub(crate) fn has_backend(&self, holds: impl Fn(&Sighting) -> bool) -> bool {
        self.leads_to_several()
            && self.is_standby()
            && !self.vitals.is_doubted()
            && self.backends().iter().any(holds)
    }

    /// What this server told, where it is the one that was asked last or one of those behind the name.
    pub(crate) fn told_by(&self, server: ServerId) -> Option<Sighting> {
        let asked = self.seen.borrow().up().filter(|asked| asked.is_by(server));
        asked.or_else(|| self.backends().iter().find(|backend| backend.is_by(server)).copied())
    }

    /// Whether what was seen of the node last was told by this server.
    pub(crate) fn was_asked_of(&self, server: ServerId) -> bool {
        self.seen.borrow().up().is_some_and(|asked| asked.is_by(server))
    }

    pub(crate) fn set_backends(&self, told: Vec<Sighting>) {
        *self.backends() = told;
    }

    /// How many servers behind its name are asked.
    pub(crate) fn servers(&self) -> usize {
        self.backends().len().max(1)
    }

    fn backends(&self) -> MutexGuard<'_, Vec<Sighting>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection leads to a server that nobody has asked.
    pub(crate) fn meet_stranger(&self) {
        self.stranger.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_met_stranger(&self) -> bool {
        AtomicBool::load(&self.stranger, Ordering::Relaxed)
    }

    /// Whether it had met one.
    pub(crate) fn forget_stranger(&self) -> bool {
        self.stranger.swap(false, Ordering::Relaxed)
    }

    /// Takes it out of use until a probe finds it alive.
    pub(crate) fn suspect(&self) {
        self.seen.send_if_modified(|seen| {
            let up = matches!(seen, Seen::Up(_));
            if up {
                *seen = Seen::Suspect;
                self.current_as_of.store(NOT_USABLE, Ordering::Release);
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

    /// Whether its name leads to several servers, as far as is known.
    pub(crate) fn leads_to_several(&self) -> bool {
        !self.config.one_server || AtomicBool::load(&self.alternates, Ordering::Relaxed)
    }

    /// Its name was seen to lead to several servers.
    pub(crate) fn note_several(&self) {
        if !self.alternates.swap(true, Ordering::Relaxed) && self.config.one_server {
            tracing::warn!(endpoint = %self.endpoint(), "this name leads to several servers by turns");
        }
    }

    /// Whether another server answers than the last time, or the same one after a restart.
    ///
    /// A server that was restarted has another start time, and never an earlier one again: a name that leads
    /// back to one leads to several.
    pub(crate) fn is_another_server(&self, started: Option<i64>) -> bool {
        let Some(started) = started else { return false };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let before = runs.back().copied();
        if before == Some(started) {
            return false;
        }
        if let Some(place) = runs.iter().position(|run| *run == started) {
            runs.remove(place);
            self.note_several();
        }
        runs.push_back(started);
        if runs.len() > MOST_SERVERS {
            runs.pop_front();
        }
        before.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn node() -> Node<()> {
        Node::new(0, Endpoint::new("db", 5432).into(), true, (), Arc::default())
    }

    fn sighting(asked: Instant) -> Sighting {
        Sighting {
            role: Role::Standby,
            system: Some(7),
            started: Some(1_000),
            timeline: 1,
            position: None,
            lag: Some(Duration::ZERO),
            covers: None,
            asked,
            since: asked,
        }
    }

    #[test]
    fn a_measurement_grows_old() {
        let (node, second) = (node(), Duration::from_secs(1));
        let asked = Instant::now().checked_sub(second * 5).unwrap();
        node.see(Seen::Up(sighting(asked)));
        assert!(!node.is_fresh(second * 4), "nobody has asked for five seconds");
        assert!(node.is_fresh(second * 6) && node.is_standby());
        node.see(Seen::Up(Sighting { covers: asked.checked_sub(second * 2), ..sighting(asked) }));
        assert!(!node.is_fresh(second * 6), "the writer was asked earlier still");
        node.see(Seen::Up(Sighting { lag: None, ..sighting(asked) }));
        assert!(!node.is_fresh(second * 600) && node.is_standby(), "unknown counts as infinite");
        node.suspect();
        assert!(!node.is_standby());
    }

    #[test]
    fn a_server_is_known_by_what_it_told_itself() {
        let node = node();
        let check = |server: ServerId, told: Option<i64>| {
            let found = node.told_by(server).and_then(|sighting| sighting.started);
            assert_eq!(found, told, "{server:?}");
        };
        let server = ServerId { system: Some(7), started: Some(1_000) };
        check(server, None);
        node.see(Seen::Up(sighting(Instant::now())));
        check(server, Some(1_000));
        check(ServerId { system: None, ..server }, Some(1_000));
        check(ServerId { system: Some(8), ..server }, None);
        check(ServerId { started: None, ..server }, None);
        let other = ServerId { started: Some(2_000), ..server };
        check(other, None);
        node.set_backends(vec![Sighting { started: Some(2_000), ..sighting(Instant::now()) }]);
        check(other, Some(2_000));
        assert!(!node.has_backend(|_| true), "the name leads to one server, as far as is known");
        assert!(
            node.was_asked_of(server) && !node.was_asked_of(other),
            "it was asked for itself, not for the node"
        );
        node.note_several();
        assert!(node.has_backend(|backend| backend.started == Some(2_000)));
        node.suspect();
        assert!(!node.has_backend(|_| true), "it is out of use");
    }

    #[test]
    fn a_name_that_leads_back_to_a_server_leads_to_several() {
        let node = node();
        let check = |started, another, several| {
            assert_eq!((node.is_another_server(started), node.leads_to_several()), (another, several));
        };
        check(Some(1), false, false);
        check(Some(1), false, false);
        check(Some(2), true, false);
        check(None, false, false);
        check(Some(1), true, true);
        check(Some(2), true, true);
    }
}
