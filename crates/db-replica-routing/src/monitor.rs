//! Asks one node, again and again, whether it is alive, what its role is, and how far behind it is.
//!
//! Each node has one task with one connection of its own and a hard deadline per probe. A probe that fails
//! means that the node is down until one succeeds, with two exceptions. One that came too late while the node
//! went on answering others says nothing. And a server that refuses the monitor's login is alive: it is asked
//! on one of the pool's connections, or its role stays what it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_core::{Acquire, Class, Classify, Connect, Error, EvictAll, Result, Role, awake};
use diesel_async::AsyncPgConnection;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::backends::Backends;
use crate::cluster::Cluster;
use crate::deadline::Deadline;
use crate::node::Node;
use crate::pace::{self, Circumstances, FIRST_LOOK};
use crate::probe::{Answer, Manner, ask};
use crate::seen::Seen;

/// Where the writer's place leads to a standby, its connection is opened anew this soon, and then after twice
/// as long each time, up to the second of these.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(600));

pub(crate) struct Monitor<A, C> {
    node: Arc<Node<A>>,
    cluster: Arc<Cluster<A>>,
    connect: Arc<C>,
    conn: Option<AsyncPgConnection>,
    /// When its connection was opened, or was last tried to be.
    opened: Option<Instant>,
    manner: Manner,
    deadline: Deadline,
    /// How many probes in a row failed.
    failures: u32,
    /// How often in a row its connection was opened anew because it led to a standby.
    astray: u32,
    /// When it was first seen again after it had been down.
    back: Option<Instant>,
    /// How many probes there were since a read began to wait for the node to catch up.
    looks: u32,
    /// The task that asks all servers behind its name, where there are several.
    backends: JoinSet<()>,
}

/// What a probe came to.
enum Outcome {
    Answered(Answer),
    /// The server is alive and does not let the monitor in.
    Refused(Error),
    Failed(Error),
}

/// What ends the pause between two probes early.
struct Wakers {
    alarms: watch::Receiver<u64>,
    awaited: watch::Receiver<u64>,
}

impl<A, C> Monitor<A, C> {
    pub(crate) fn new(node: Arc<Node<A>>, cluster: Arc<Cluster<A>>, connect: C, manner: Manner) -> Self {
        let deadline = Deadline::new(cluster.config.probe_timeout, cluster.config.probe_timeout_max);
        Monitor {
            node,
            cluster,
            connect: Arc::new(connect),
            conn: None,
            opened: None,
            manner,
            deadline,
            failures: 0,
            astray: 0,
            back: None,
            looks: 0,
            backends: JoinSet::new(),
        }
    }
}

impl<A: Acquire + EvictAll + Send + Sync + 'static, C: Connect + 'static> Monitor<A, C> {
    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        let mut wakers =
            Wakers { alarms: self.cluster.signals.alarms(), awaited: self.cluster.awaited.subscribe() };
        loop {
            let started = Instant::now();
            wakers.alarms.mark_unchanged();
            wakers.awaited.mark_unchanged();
            let outcome = self.probe(started).await;
            let seen = match &outcome {
                Outcome::Answered(answer) => Seen::Up(self.cluster.sighting(answer)),
                Outcome::Refused(error) => self.refused(started, error),
                Outcome::Failed(error) => self.went_wrong(started, error),
            };
            self.failures = if seen.up().is_some() { 0 } else { self.failures.saturating_add(1) };
            let (before, seen) = self.cluster.report(&self.node, seen);
            self.note(before, seen, matches!(outcome, Outcome::Answered(_)));
            self.ask_backends();
            self.pause(started, &mut wakers).await;
        }
    }

    /// Has all servers behind the name asked, where it leads to several standbys, or may do so.
    fn ask_backends(&mut self) {
        let (node, cluster) = (&self.node, &self.cluster);
        while self.backends.try_join_next().is_some() {}
        let may_be_several = node.leads_to_several() || node.has_met_stranger();
        if !self.backends.is_empty() || !may_be_several || !node.is_standby() {
            return;
        }
        let (node, cluster, connect) = (Arc::clone(node), Arc::clone(cluster), Arc::clone(&self.connect));
        let (manner, deadline) = (self.manner.clone(), self.deadline.clone());
        self.backends.spawn(Backends::new(node, cluster, connect, manner, deadline).run());
    }

    async fn pause(&mut self, started: Instant, wakers: &mut Wakers) {
        let config = &self.cluster.config;
        let may_catch_up = self.node.catches_up_within(config.token_wait);
        let awaited = may_catch_up && self.cluster.for_token.is_occupied();
        let pause = pace::pause(
            config,
            Circumstances {
                searching: self.cluster.searching(),
                looks: awaited.then_some(self.looks),
                failures: self.failures,
                demand: self.cluster.demand.now(),
            },
        );
        let due = after(started, pause);
        // Alarms may be another node's, and both may come often: a short pause bounds the probes.
        let soon = tokio::select! {
            Ok(()) = wakers.alarms.changed() => pace::after_alarm(config, self.failures),
            Ok(()) = wakers.awaited.changed(), if may_catch_up => {
                self.looks = 0;
                self.node.token_probes.fetch_add(1, Ordering::Relaxed);
                FIRST_LOOK
            }
            () = tokio::time::sleep_until(due.into()) => {
                self.looks = self.looks.saturating_add(1);
                let early = awaited && pause < pace::usual(config, None);
                self.node.token_probes.fetch_add(early.into(), Ordering::Relaxed);
                return;
            }
        };
        tokio::time::sleep_until(after(started, soon).into()).await;
    }

    async fn probe(&mut self, started: Instant) -> Outcome {
        self.node.probes.fetch_add(1, Ordering::Relaxed);
        let had_one = self.conn.is_some();
        let mut answered = self.ask_own(started).await;
        // The end of one session says nothing of the server: an operator may have ended it.
        if had_one && answered.as_ref().is_err_and(is_lost) {
            answered = self.ask_own(started).await;
        }
        let late = matches!(answered, Err(Error::DeadlineExceeded { .. }));
        let outcome = match answered {
            Ok(answer) => Outcome::Answered(answer),
            Err(error) if is_refusal(&error) => match self.ask_on_pool().await {
                Ok(answer) => Outcome::Answered(answer),
                Err(why) => {
                    let endpoint = self.node.endpoint();
                    tracing::debug!(%endpoint, %why, "no answer on the pool's connections either");
                    Outcome::Refused(error)
                }
            },
            Err(error) => Outcome::Failed(error),
        };
        if late {
            self.deadline.missed();
        }
        let micros = u64::try_from(self.deadline.of_answer().as_micros()).unwrap_or(u64::MAX);
        AtomicU64::store(&self.node.probe_deadline, micros, Ordering::Relaxed);
        outcome
    }

    /// Asks on the monitor's own connection.
    async fn ask_own(&mut self, started: Instant) -> Result<Answer> {
        let (mut conn, is_warm) = self.connection().await?;
        let waited = self.deadline.of_answer();
        let asked = awake::within(waited, tokio::time::sleep, ask(&mut conn, &mut self.manner));
        let answer = asked.await.ok_or(Error::DeadlineExceeded { waited })??;
        // A connection whose probe failed is not used again.
        self.conn = Some(conn);
        let elapsed = answer.asked.elapsed();
        self.deadline.measured(elapsed);
        let since = started.checked_sub(self.cluster.config.probe_interval).unwrap_or(started);
        if is_warm && !self.node.vitals.has_answered_since(since) {
            self.node.vitals.probed(Instant::now(), elapsed);
        }
        Ok(answer)
    }

    /// Asks on one of the pool's connections: a server that has no place for another may keep those that it
    /// has.
    async fn ask_on_pool(&mut self) -> Result<Answer> {
        let waited = self.deadline.of_answer();
        let asking = async {
            let mut conn = self.node.plain.acquire().await?;
            ask(&mut conn, &mut self.manner).await
        };
        awake::within(waited, tokio::time::sleep, asking).await.ok_or(Error::DeadlineExceeded { waited })?
    }

    /// The probe's own connection, and whether it is no new one: the first statement of a connection is no
    /// measure, because the server reads its catalogues for it.
    async fn connection(&mut self) -> Result<(AsyncPgConnection, bool)> {
        let lives = self.cluster.config.resolve_interval.min(self.look_again().unwrap_or(Duration::MAX));
        let old = match self.conn.take() {
            Some(conn) if self.opened.is_some_and(|at| at.elapsed() < lives) => return Ok((conn, true)),
            old => old,
        };
        // What a server refused it may allow by now.
        self.manner.ask_all();
        let waited = if old.is_some() { self.deadline.of_answer() } else { self.deadline.of_opening() };
        let opening = self.connect.connect(self.node.endpoint());
        let opened = awake::within(waited, tokio::time::sleep, opening).await;
        self.opened = Some(Instant::now());
        match (opened, old) {
            (Some(Ok(conn)), _) => Ok((conn, false)),
            // No place for another connection, or no word from the name server: no reason to give this one
            // up.
            (_, Some(old)) => Ok((old, true)),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(Error::DeadlineExceeded { waited }),
        }
    }

    /// How soon the connection is opened anew because there is no writer, and the place where it was leads to
    /// a standby: a load balancer may lead to the writer again by now, and its address is the same.
    fn look_again(&mut self) -> Option<Duration> {
        let is_standby = self.node.seen.borrow().up().is_some_and(|seen| seen.role == Role::Standby);
        let astray =
            is_standby && self.cluster.searching().is_some() && self.cluster.may_lead_to_writer(&self.node);
        if !astray {
            self.astray = 0;
            return None;
        }
        let pause = LOOK_AGAIN.0.saturating_mul(1 << self.astray.min(8)).min(LOOK_AGAIN.1);
        if self.opened.is_some_and(|at| at.elapsed() >= pause) {
            self.astray = self.astray.saturating_add(1);
        }
        Some(pause)
    }

    /// It is alive, so it stays what it was last; what it was before it went down says nothing.
    fn refused(&self, started: Instant, error: &Error) -> Seen {
        let Seen::Up(last) = *self.node.seen.borrow() else { return self.is_down(error) };
        if self.node.set_trouble(Some(error.to_string())).is_none() && self.node.lines.admit() {
            let (endpoint, role) = (self.node.endpoint(), last.role);
            tracing::warn!(%endpoint, %role, %error, "node is alive but refuses the monitor: its role stays");
        }
        self.node.vitals.reassure(started);
        Seen::Up(last)
    }

    fn went_wrong(&self, started: Instant, error: &Error) -> Seen {
        // It answered others in the second half of the time that it had for us: busy, not gone. What is known
        // of it grows old.
        let half = started + started.elapsed() / 2;
        let busy = self.node.vitals.has_answered_since(half) && !self.node.vitals.is_doubted();
        if let (true, Error::DeadlineExceeded { .. }, Seen::Up(last)) =
            (busy, error, *self.node.seen.borrow())
        {
            return Seen::Up(last);
        }
        self.is_down(error)
    }

    fn is_down(&self, error: &Error) -> Seen {
        if self.node.set_trouble(Some(error.to_string())).is_none() && self.node.lines.admit() {
            tracing::warn!(endpoint = %self.node.endpoint(), %error, "node does not answer");
        }
        Seen::Down
    }

    /// Logs a change of state once, and keeps the books for the balance.
    fn note(&mut self, before: Seen, seen: Seen, answered: bool) {
        let (node, config, now) = (&self.node, &self.cluster.config, Instant::now());
        let endpoint = node.endpoint();
        let Seen::Up(sighting) = seen else {
            self.back = None;
            return;
        };
        if answered {
            node.set_trouble(None);
        }
        match before.up() {
            Some(before) if before.role != sighting.role && node.lines.admit() => {
                tracing::warn!(%endpoint, role = %sighting.role, "node changed its role");
            }
            None if node.lines.admit() => tracing::info!(%endpoint, role = %sighting.role, "node is up"),
            _ => {}
        }
        if before == Seen::Down {
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
        let serves = |node: &Node<A>| node.is_standby() && !node.ejection.is_active();
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

/// Whether the server answered, and would not let us in. One that starts or stops says so, too, and is of no
/// use; so does a pooler whose server is gone (class 08).
fn is_refusal(error: &Error) -> bool {
    let spoke = error.report().is_some();
    let starts_or_stops = matches!(error, Error::AdminShutdown(_)) || error.class() == Class::Unavailable;
    spoke && !starts_or_stops
}

/// Whether the connection went, rather than the time that it had.
fn is_lost(error: &Error) -> bool {
    error.class() == Class::Unavailable
}

/// The moment so long after another; a year after it where no clock can show it.
fn after(moment: Instant, pause: Duration) -> Instant {
    moment.checked_add(pause).unwrap_or_else(|| moment + Duration::from_secs(365 * 86_400))
}
