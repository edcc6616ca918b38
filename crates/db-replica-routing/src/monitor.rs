//! Asks one node, again and again, whether it is alive, what its role is, and how far behind it is.
//!
//! Each node has one task with one connection of its own and a hard deadline per probe. A probe that fails, for
//! whatever reason, means that the node is down until one succeeds; only one that came too late while the node went on
//! answering others says nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use db_core::{Acquire, Connect, Error, EvictAll, Result, Role};
use diesel_async::AsyncPgConnection;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::lag::{covers, lag};
use crate::node::Node;
use crate::probe::{Answer, Extent, Manner, ask};
use crate::seen::{Seen, Sighting};

/// The pause before the second look at a standby that a read waits for; each further one is twice as long.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(5);

pub(crate) struct Monitor<A, C> {
    pub(crate) node: Arc<Node<A>>,
    pub(crate) cluster: Arc<Cluster<A>>,
    pub(crate) connect: C,
    pub(crate) conn: Option<AsyncPgConnection>,
    /// When its connection was opened, or was last tried to be.
    pub(crate) opened: Option<Instant>,
    pub(crate) manner: Manner,
    /// When it was first seen again after it had been down.
    pub(crate) back: Option<Instant>,
    /// How many probes there were since a read began to wait for the node to catch up.
    pub(crate) looks: u32,
}

/// What ends the pause between two probes early.
struct Wakers {
    alarms: watch::Receiver<u64>,
    awaited: watch::Receiver<u64>,
}

impl<A: Acquire + EvictAll, C: Connect> Monitor<A, C> {
    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        let mut wakers =
            Wakers { alarms: self.cluster.signals.alarms(), awaited: self.cluster.awaited.subscribe() };
        loop {
            let started = Instant::now();
            wakers.alarms.mark_unchanged();
            wakers.awaited.mark_unchanged();
            let seen = match self.probe(started).await {
                Ok(answer) => self.up(&answer),
                Err(error) => self.went_wrong(started, &error),
            };
            self.note(seen);
            self.cluster.report(&self.node, seen);
            self.pause(started, &mut wakers).await;
        }
    }

    async fn pause(&mut self, started: Instant, wakers: &mut Wakers) {
        let pause = self.cluster.pause(&self.node, self.looks);
        let due = after(started, pause);
        let is_standby = self.node.is_fresh(Duration::MAX);
        // Alarms may be another node's, and both may come often: a short pause bounds the probes.
        let soon = tokio::select! {
            Ok(()) = wakers.alarms.changed() => self.cluster.config.search_interval,
            Ok(()) = wakers.awaited.changed(), if is_standby => {
                self.looks = 0;
                self.node.token_probes.fetch_add(1, Ordering::Relaxed);
                FIRST_LOOK
            }
            () = tokio::time::sleep_until(due.into()) => {
                self.looks = self.looks.saturating_add(1);
                let is_early = pause < self.cluster.config.probe_interval;
                let early = is_early && self.cluster.for_token.is_occupied();
                self.node.token_probes.fetch_add(early.into(), Ordering::Relaxed);
                return;
            }
        };
        tokio::time::sleep_until(after(started, soon).into()).await;
    }

    async fn probe(&mut self, started: Instant) -> Result<Answer> {
        let timeout = self.cluster.config.probe_timeout;
        self.node.probes.fetch_add(1, Ordering::Relaxed);
        let (mut conn, is_warm) = self.connection(timeout).await?;
        let asked = tokio::time::timeout(timeout, ask(&mut conn, &mut self.manner));
        let answer = asked.await.map_err(|_| Error::DeadlineExceeded { waited: timeout })??;
        // A connection whose probe failed is not used again.
        self.conn = Some(conn);
        let elapsed = answer.asked.elapsed();
        let since = started.checked_sub(self.cluster.config.probe_interval).unwrap_or(started);
        if is_warm && !self.node.vitals.has_answered_since(since) {
            self.node.vitals.probed(Instant::now(), elapsed);
        }
        Ok(answer)
    }

    /// The probe's own connection, and whether it is no new one: the first statement of a connection is no measure, because the
    /// server reads its catalogues for it.
    async fn connection(&mut self, timeout: Duration) -> Result<(AsyncPgConnection, bool)> {
        let resolved = self.opened.is_some_and(|at| at.elapsed() < self.cluster.config.resolve_interval);
        let is_address = self.node.endpoint().host().parse::<IpAddr>().is_ok();
        if !resolved {
            // What a server refused it may allow by now.
            self.manner.extent = Extent::Full;
        }
        let old = match self.conn.take() {
            Some(conn) if resolved || is_address => {
                self.opened = self.opened.filter(|_| resolved).or_else(|| Some(Instant::now()));
                return Ok((conn, true));
            }
            old => old,
        };
        let waited = if old.is_some() { timeout / 2 } else { timeout.saturating_mul(2) };
        let opened = tokio::time::timeout(waited, self.connect.connect(self.node.endpoint())).await;
        self.opened = Some(Instant::now());
        match (opened, old) {
            (Ok(Ok(conn)), _) => Ok((conn, false)),
            // No place for another connection, or no word from the name server: no reason to give this one up.
            (_, Some(old)) => Ok((old, true)),
            (Ok(Err(error)), None) => Err(error),
            (Err(_), None) => Err(Error::DeadlineExceeded { waited }),
        }
    }

    fn up(&self, answer: &Answer) -> Seen {
        let (lag, covers) = match answer.role {
            Role::Primary => (Some(Duration::ZERO), None),
            Role::Standby => self.lateness(answer),
        };
        let Answer { role, system, started, timeline, position, asked, .. } = *answer;
        Seen::Up(Sighting { role, system, started, timeline, position, lag, covers, asked, since: asked })
    }

    /// How far a standby is behind, and the moment before which whatever was committed is surely on it.
    fn lateness(&self, answer: &Answer) -> (Option<Duration>, Option<Instant>) {
        let positions = &self.cluster.positions;
        let behind = answer.position.map(|position| positions.behind(position, Instant::now()));
        let covered = answer.position.and_then(|position| positions.covered(position));
        let writer = self.cluster.writer().and_then(|writer| writer.seen.borrow().primary());
        let timeline = writer.map(|writer| writer.timeline);
        (lag(answer, behind.unwrap_or_default(), timeline), covers(answer, covered, timeline))
    }

    fn went_wrong(&self, started: Instant, error: &Error) -> Seen {
        // It answered others in the second half of the time that it had for us: busy, not gone.
        let half = started + started.elapsed() / 2;
        let busy = self.node.vitals.has_answered_since(half) && !self.node.vitals.is_doubted();
        if let (true, Error::DeadlineExceeded { .. }, Seen::Up(last)) =
            (busy, error, *self.node.seen.borrow())
        {
            let known = (last.role == Role::Primary).then_some(Duration::ZERO);
            return Seen::Up(Sighting { lag: known, position: None, covers: None, ..last });
        }
        if self.node.set_trouble(Some(error.to_string())).is_none() {
            tracing::warn!(endpoint = %self.node.endpoint(), %error, "node does not answer");
        }
        Seen::Down
    }

    /// Logs a change of state once, and keeps the books for the balance.
    fn note(&mut self, seen: Seen) {
        let (node, config, now) = (&self.node, &self.cluster.config, Instant::now());
        let endpoint = node.endpoint();
        let Seen::Up(sighting) = seen else {
            self.back = None;
            return;
        };
        let was_down = node.set_trouble(None).is_some();
        let before = node.seen.borrow().up();
        match before {
            Some(before) if before.role != sighting.role => {
                tracing::warn!(%endpoint, role = %sighting.role, "node changed its role");
            }
            None => tracing::info!(%endpoint, role = %sighting.role, "node is up"),
            Some(_) => {}
        }
        if was_down {
            self.back = Some(now);
            node.vitals.forget_latency();
        }
        if node.ejection.readmit(now) {
            tracing::info!(%endpoint, "node gets reads again");
            self.back = Some(now);
        }
        let since = self.back.map_or(config.slow_start, |back| now.saturating_duration_since(back));
        node.set_share(since.as_secs_f32() / config.slow_start.as_secs_f32().max(f32::MIN_POSITIVE));
        self.judge();
    }

    /// Ejects the node where it is much slower than its peers.
    fn judge(&self) {
        let node = &self.node;
        if node.ejection.is_active()
            || self.back.is_some_and(|back| back.elapsed() < self.cluster.config.slow_start)
        {
            return;
        }
        let serves = |node: &Node<A>| node.is_fresh(Duration::MAX) && !node.ejection.is_active();
        if !serves(node) {
            return;
        }
        let nodes = self.cluster.nodes.now();
        let peers = nodes.iter().filter(|peer| peer.number != node.number && serves(peer));
        let mut peers: Vec<f32> = peers.map(|peer| peer.vitals.probe_micros()).collect();
        let own = node.vitals.probe_micros();
        if node.ejection.is_outlier(&self.cluster.config.ejection, own, &mut peers) {
            self.cluster.eject(node, "it is much slower than the others");
        }
    }
}

/// The moment so long after another; a year after it where no clock can show it.
fn after(moment: Instant, pause: Duration) -> Instant {
    moment.checked_add(pause).unwrap_or_else(|| moment + Duration::from_secs(365 * 86_400))
}
