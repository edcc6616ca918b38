//! What is known of all nodes together: who the writer is, and what has to be done when that changes.
//!
//! Monitors report here. Every report is an election, so that whoever sees the new writer first ends the
//! search for all callers at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use db_core::{Acquire, Endpoint, Error, EvictAll, Lsn, Result, Role};
use tokio::sync::{Notify, watch};

use crate::admission::{Admission, Identity, Known};
use crate::config::{NodeConfig, Policy, RouterConfig};
use crate::counts::Counts;
use crate::election::{Memory, Verdict, elect};
use crate::histories::Histories;
use crate::lines::Lines;
use crate::node::Node;
use crate::nodes::{Nodes, Places};
use crate::pace::{self, Demand};
use crate::positions::Positions;
use crate::purpose::Purpose;
use crate::seen::Seen;
use crate::signals::Signals;
use crate::token::Token;
use crate::waiting::Room;

/// A search that lasts longer than this goes on at the usual pace, unless callers wait for a writer.
const HASTE: Duration = Duration::from_secs(30);

/// More log, in bytes, than any server writes between two probes.
const FAR: u64 = 1 << 34;

/// Makes a source of connections.
type Open<A> = dyn Fn(&Endpoint, Purpose) -> A + Send + Sync;

/// Who takes writes.
pub(crate) enum Leader<A> {
    /// Nobody, since then.
    Nobody(Instant),
    /// This node.
    Node(Arc<Node<A>>),
    /// Two claim to: nobody gets a write. The text names them.
    Conflict(String),
}

/// The last writer, after it went.
struct Lost {
    at: Instant,
    endpoint: Endpoint,
    /// How far its log was known to be.
    position: Option<Lsn>,
}

pub(crate) struct Cluster<A> {
    pub(crate) config: RouterConfig,
    pub(crate) signals: Signals,
    /// The writer's recent positions.
    pub(crate) positions: Positions,
    pub(crate) counts: Counts,
    /// Callers that wait for a writer.
    pub(crate) for_writer: Room,
    /// Reads that wait for a standby to catch up.
    pub(crate) for_token: Room,
    pub(crate) leader: watch::Sender<Leader<A>>,
    /// Wakes the monitors of standbys: a read waits for one to catch up. Counts these reads.
    pub(crate) awaited: watch::Sender<u64>,
    /// Wakes whoever waits for something to change.
    pub(crate) news: Notify,
    /// Whether no connection is handed out any more.
    stopped: AtomicBool,
    /// The lag that reads ask for.
    pub(crate) demand: Demand,
    /// Bounds what is logged of who takes writes.
    lines: Lines,
    pub(crate) histories: Histories,
    open: Box<Open<A>>,
    pub(crate) nodes: Nodes<A>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    identity: Identity,
    lost: Option<Lost>,
    /// Whether some standby may answer ordinary reads; none before all were asked.
    answered: Option<bool>,
}

impl<A> Cluster<A> {
    pub(crate) fn new(
        config: RouterConfig,
        signals: Signals,
        open: impl Fn(&Endpoint, Purpose) -> A + Send + Sync + 'static,
    ) -> Self {
        Cluster {
            for_writer: Room::new(config.max_waiting),
            for_token: Room::new(config.max_waiting),
            positions: Positions::new(pace::usual(&config, None).saturating_add(config.probe_timeout)),
            config,
            signals,
            counts: Counts::default(),
            leader: watch::Sender::new(Leader::Nobody(Instant::now())),
            awaited: watch::Sender::new(0),
            news: Notify::new(),
            stopped: AtomicBool::new(false),
            demand: Demand::default(),
            lines: Lines::default(),
            histories: Histories::default(),
            open: Box::new(open),
            nodes: Nodes::default(),
            state: Mutex::default(),
        }
    }

    /// Adds a node; none where it is known already, or where there is no room for it.
    pub(crate) fn add(&self, config: NodeConfig) -> Option<Arc<Node<A>>> {
        let config = self.config.completed(config);
        let endpoint = config.endpoint.clone();
        self.nodes.add(&endpoint, |number| {
            let near = self.config.zone.is_none() || self.config.zone == config.zone;
            let vitals = self.signals.vitals(&endpoint);
            let plain = (self.open)(&endpoint, Purpose::Plain);
            Node::new(number, config, near, plain, vitals)
        })
    }

    #[cfg(feature = "patroni")]
    /// Takes a node out for good that is down, and that nobody names any more; false where it is still of
    /// use.
    pub(crate) fn remove(&self, node: &Arc<Node<A>>) -> bool {
        let mut state = self.state();
        if *node.seen.borrow() != Seen::Down || state.memory.current == Some(node.number) {
            return false;
        }
        // Another node may get its place.
        state.memory.last = state.memory.last.filter(|last| *last != node.number);
        self.nodes.remove(node);
        self.signals.forget(node.endpoint());
        true
    }

    /// The source of a node for this purpose.
    pub(crate) fn source<'a>(&self, node: &'a Node<A>, purpose: Purpose) -> &'a A {
        match purpose {
            Purpose::Plain => &node.plain,
            Purpose::ReadOnly => self.read_only(node),
        }
    }

    /// The source for reads on this node while it is the primary.
    pub(crate) fn read_only<'a>(&self, node: &'a Node<A>) -> &'a A {
        node.read_only.get_or_init(|| (self.open)(node.endpoint(), Purpose::ReadOnly))
    }

    pub(crate) fn writer(&self) -> Option<Arc<Node<A>>> {
        match &*self.leader.borrow() {
            Leader::Node(node) => Some(Arc::clone(node)),
            Leader::Nobody(_) | Leader::Conflict(_) => None,
        }
    }

    /// How long the writer has been looked for; none where there is one, or where the search goes on at the
    /// usual pace.
    pub(crate) fn searching(&self) -> Option<Duration> {
        let since = match &*self.leader.borrow() {
            Leader::Nobody(since) => since.elapsed(),
            Leader::Node(_) | Leader::Conflict(_) => return None,
        };
        (since < HASTE || self.for_writer.is_occupied()).then_some(since)
    }

    /// Whether this node is where the writer is looked for: it took writes last, or nobody ever did.
    pub(crate) fn may_lead_to_writer(&self, node: &Node<A>) -> bool {
        self.state().memory.last.is_none_or(|last| last == node.number)
    }

    /// Why there is no writer.
    pub(crate) fn why_nobody(&self) -> String {
        if let Leader::Conflict(text) = &*self.leader.borrow() {
            return text.clone();
        }
        let say = |node: &Arc<Node<A>>| {
            let endpoint = node.endpoint();
            match *node.seen.borrow() {
                Seen::Nothing | Seen::Suspect => format!("{endpoint} has not answered yet"),
                Seen::Down => match node.trouble() {
                    Some(trouble) => format!("{endpoint} does not answer as it should ({trouble})"),
                    None => format!("{endpoint} does not answer"),
                },
                Seen::Up(sighting) if sighting.role == Role::Standby => format!("{endpoint} is a standby"),
                Seen::Up(_) => format!("{endpoint} is an old primary"),
            }
        };
        self.nodes.now().iter().map(say).collect::<Vec<_>>().join(", ")
    }

    /// Whether there is any node that may be a standby.
    pub(crate) fn has_standbys(&self) -> bool {
        self.nodes.now().len() > 1
    }

    /// The position that the writer's log had when it was last asked.
    pub(crate) fn written(&self) -> Option<Lsn> {
        self.positions.last()
    }

    /// Takes a standby out of use for a while.
    pub(crate) fn eject(&self, node: &Node<A>, why: &str) {
        let lasts = node.ejection.eject(&self.config.ejection, Instant::now());
        tracing::warn!(endpoint = %node.endpoint(), ?lasts, "node gets no reads for a while: {why}");
    }

    /// Whether the writer can have got so far: a forged token is beyond all that can have been written since
    /// it was asked.
    pub(crate) fn may_have_written(&self, token: &Token) -> bool {
        let reach = |known: Lsn| known.0.saturating_add(FAR);
        self.positions.last().is_none_or(|known| token.position.0 <= reach(known))
    }

    /// Whether the token was written on a later timeline than the writer's that we know.
    pub(crate) fn is_outdated_by(&self, token: &Token) -> bool {
        let known = self.writer().and_then(|writer| writer.seen.borrow().primary());
        known.is_some_and(|known| {
            known.system == Some(token.system) && known.timeline > 0 && known.timeline < token.timeline
        })
    }

    /// Waits until something holds that changes with what is known of the nodes, or until the router is
    /// stopped.
    pub(crate) async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if holds() || self.is_stopped() {
                return;
            }
            news.await;
        }
    }

    /// Refuses once the router was stopped.
    pub(crate) fn check_running(&self) -> Result<()> {
        match self.nodes.now().iter().next() {
            Some(node) if self.is_stopped() => Err(Error::PoolClosed { endpoint: node.endpoint().clone() }),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        AtomicBool::load(&self.stopped, Ordering::Acquire)
    }

    /// Hands out no connection any more; callers that wait are told.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.news.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Acquire + EvictAll> Cluster<A> {
    /// Takes in what a monitor saw of its node, and holds an election. Returns what was seen of the node
    /// before, and what counts now.
    pub(crate) fn report(&self, node: &Arc<Node<A>>, seen: Seen) -> (Seen, Seen) {
        let mut state = self.state();
        let seen = self.admit(&mut state, node, seen).as_repeated(*node.seen.borrow());
        let before = node.see(seen);
        let reassured = seen.up().is_some_and(|sighting| node.vitals.reassure(sighting.asked));
        if let Some(is) = seen.up() {
            let demoted = before.primary().is_some() && is.role == Role::Standby;
            // Its name leads elsewhere, or it was restarted: connections to what was there before are of no
            // use. Where a name leads to several servers by turns, nothing has changed.
            if (node.is_another_server(is.started) && !node.leads_to_several()) || demoted {
                node.plain.evict_all();
                node.read_only.get().into_iter().for_each(EvictAll::evict_all);
            }
        }
        let nodes = self.nodes.now();
        // Nobody is as good as down.
        let sight =
            |place: &Option<Arc<Node<A>>>| place.as_ref().map_or(Seen::Down, |node| *node.seen.borrow());
        let sights: Vec<Seen> = nodes.places().iter().map(sight).collect();
        let known = sights.iter().filter_map(|seen| seen.up()).map(|sighting| sighting.timeline).max();
        state.memory.best = state.memory.best.max(known.unwrap_or(0));
        let verdict = elect(&sights, state.memory, self.config.second_primary);
        let changed = self.follow(&mut state, &nodes, verdict);
        self.fence(&sights, state.memory);
        self.note_fallback(&mut state, &sights);
        drop(state);
        // Another node's answer may have made this one the writer: what it told before counts from then on.
        let writer = self.writer().and_then(|writer| writer.seen.borrow().primary());
        if let Some((position, asked)) = writer.and_then(|writer| Some((writer.position?, writer.asked))) {
            self.positions.record(position, asked);
        }
        if changed || reassured || self.for_token.is_occupied() {
            self.news.notify_waiters();
        }
        if changed {
            // Whoever has something to say of the new order is asked at once.
            self.signals.raise();
        }
        (before, seen)
    }

    /// What a node's answer counts as: one of another cluster is as good as down.
    fn admit(&self, state: &mut State, node: &Arc<Node<A>>, seen: Seen) -> Seen {
        let other_primary = || {
            let nodes = self.nodes.now();
            let mut others = nodes.iter().filter(|other| other.number != node.number);
            others.any(|other| other.seen.borrow().primary().is_some())
        };
        let known = Known {
            last_writer: state.memory.last,
            policy: self.config.new_cluster,
            other_primary: self.config.new_cluster == Policy::Follow && other_primary(),
        };
        match state.identity.admit(node.number, seen, known) {
            Admission::Granted => seen,
            Admission::Overrules => {
                self.dismiss_strangers(state);
                seen
            }
            Admission::Replaces { old } => {
                if self.lines.admit() {
                    let system = state.identity.system();
                    let endpoint = node.endpoint();
                    tracing::warn!(%endpoint, old, system, "another cluster takes the old one's place");
                }
                state.memory.settled = 0;
                self.positions.forget();
                self.dismiss_strangers(state);
                seen
            }
            Admission::Stranger { system, expected } => {
                node.estrange(system, expected);
                Seen::Down
            }
        }
    }

    /// Acts on a verdict; true where it changed anything.
    fn follow(&self, state: &mut State, nodes: &Places<A>, verdict: Verdict) -> bool {
        let before = state.memory.current;
        let same = match (&*self.leader.borrow(), verdict) {
            (Leader::Node(node), Verdict::Writer(index)) => node.number == index,
            (Leader::Nobody(_), Verdict::Nobody) | (Leader::Conflict(_), Verdict::Conflict(..)) => true,
            _ => false,
        };
        let now = Instant::now();
        let leader = match verdict {
            Verdict::Nobody => Leader::Nobody(now),
            Verdict::Writer(index) => match nodes.get(index) {
                Some(node) => Leader::Node(Arc::clone(node)),
                None => Leader::Nobody(now),
            },
            Verdict::Conflict(one, other) => {
                let name =
                    |index| nodes.get(index).map_or_else(String::new, |node| node.endpoint().to_string());
                let timeline = |index| {
                    let claim = nodes.get(index).and_then(|node| node.seen.borrow().primary());
                    claim.map_or(0, |claim| claim.timeline)
                };
                let text = conflict((&name(one), timeline(one)), (&name(other), timeline(other)));
                if !same {
                    if self.lines.admit() {
                        tracing::error!("two primaries, nobody gets a write: {text}");
                    }
                    self.counts.conflict();
                }
                Leader::Conflict(text)
            }
        };
        if let Leader::Node(node) = &leader {
            let sighting = node.seen.borrow().primary();
            state.memory.settled = sighting.map_or(0, |sighting| sighting.timeline);
            sighting.inspect(|sighting| self.histories.note(sighting.system, sighting.timeline));
        }
        if same {
            return false;
        }
        if let Some(lost) = before.and_then(|index| nodes.get(index)) {
            let (endpoint, position) = (lost.endpoint().clone(), self.positions.last());
            state.lost = Some(Lost { at: now, endpoint, position });
            self.positions.forget();
        }
        match &leader {
            Leader::Node(node) => self.welcome(node, state.memory.settled, state.lost.take()),
            Leader::Nobody(_) | Leader::Conflict(_) if before.is_some() && self.lines.admit() => {
                let lost = state.lost.as_ref().map(|lost| tracing::field::display(&lost.endpoint));
                tracing::warn!(endpoint = lost, "no node takes writes");
            }
            Leader::Nobody(_) | Leader::Conflict(_) => {}
        }
        state.memory.current = match &leader {
            Leader::Node(node) => Some(node.number),
            Leader::Nobody(_) | Leader::Conflict(_) => None,
        };
        state.memory.last = state.memory.current.or(state.memory.last);
        self.leader.send_replace(leader);
        true
    }

    /// Says who takes the writes now, and what the failover lost as far as is known.
    fn welcome(&self, node: &Node<A>, timeline: u32, lost: Option<Lost>) {
        let endpoint = node.endpoint();
        match lost {
            Some(lost) if lost.endpoint != *endpoint => {
                let (took, old) = (lost.at.elapsed(), &lost.endpoint);
                let position = node.seen.borrow().primary().and_then(|sighting| sighting.position);
                let lacks = lost.position.zip(position).map(|(old, new)| old.bytes_since(new));
                self.counts.failover(took, lacks);
                if self.lines.admit() {
                    tracing::warn!(%endpoint, timeline, ?took, lacks, "another node takes writes now");
                }
                if let Some(lacks) = lacks.filter(|lacks| *lacks > 0) {
                    tracing::error!(
                        %endpoint, %old,
                        "the new writer lacks at least {lacks} bytes of the old one's log: what was committed \
                         there is lost"
                    );
                }
            }
            _ if !self.lines.admit() => {}
            Some(_) => tracing::info!(%endpoint, timeline, "the writer is back"),
            None => tracing::info!(%endpoint, timeline, "found the writer"),
        }
    }

    /// Says once when reads begin to fall back, and once when they end to.
    fn note_fallback(&self, state: &mut State, sights: &[Seen]) {
        if sights.len() < 2 || sights.contains(&Seen::Nothing) || state.memory.current.is_none() {
            return;
        }
        let answered = self.nodes.now().iter().any(|node| node.is_fresh(self.config.max_lag));
        match (state.answered.replace(answered), answered) {
            (before, after) if before == Some(after) || !self.lines.admit() => {}
            (_, false) => {
                let fallback = self.config.fallback;
                tracing::warn!(?fallback, "no standby is up and fresh enough: reads fall back");
            }
            (Some(false), true) => tracing::info!("standbys answer reads again"),
            _ => {}
        }
    }

    /// Forgets what nodes of another cluster told, before it was known to be another.
    fn dismiss_strangers(&self, state: &mut State) {
        state.memory.best = 0;
        let Some(expected) = state.identity.system() else { return };
        for node in self.nodes.now().iter() {
            let system = node.seen.borrow().up().and_then(|sighting| sighting.system);
            if let Some(system) = system.filter(|system| *system != expected) {
                node.estrange(system, expected);
                node.see(Seen::Down);
            }
        }
    }

    /// Cuts off every primary that is not the writer: what is sent to it would be lost.
    fn fence(&self, sights: &[Seen], memory: Memory) {
        for node in self.nodes.now().iter() {
            let Some(seen) = sights.get(node.number) else { continue };
            let old = seen.primary().is_some_and(|claim| claim.timeline > 0 && claim.timeline < memory.best);
            if node.fenced.swap(old, Ordering::Relaxed) != old && old {
                let endpoint = node.endpoint();
                tracing::error!(%endpoint, "an old primary takes writes: none is sent to it");
                node.plain.evict_all();
            }
        }
    }
}

/// Why nobody gets a write, and what to do.
fn conflict((one, old): (&str, u32), (other, new): (&str, u32)) -> String {
    if old == new {
        return format!("{one} and {other} are both primaries on timeline {new}: shut one of them down");
    }
    format!(
        "{other} was promoted to timeline {new} while {one} is still a primary on timeline {old}: \
         shut one of them down"
    )
}

impl<A> fmt::Debug for Cluster<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.nodes.now().iter().map(|node| node.endpoint().clone()).collect();
        f.debug_struct("Cluster")
            .field("config", &self.config)
            .field("nodes", &endpoints)
            .finish_non_exhaustive()
    }
}
