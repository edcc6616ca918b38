//! The servers behind a name that leads to several: which there are, and how far each of them is.
//!
//! The monitor's own connection leads to one of them. The others are found by opening connections, as the
//! pool does, until each server that somebody has met has one; from then on each is asked as the monitor
//! asks. The server that the monitor's connection leads to has one as well, because that connection is opened
//! anew now and then, and may lead to another one afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Connect, Role, awake};
use diesel_async::AsyncPgConnection;

use crate::cluster::Cluster;
use crate::deadline::Deadline;
use crate::node::{MOST_SERVERS, Node};
use crate::pace::{self, Circumstances};
use crate::probe::{Answer, Manner, ask};
use crate::seen::Sighting;

/// So many connections are opened at first: the name may lead to several servers, and most lead to one.
const FIRST_LOOKS: usize = 2;

/// So many connections at most are opened to find a server that somebody has met.
const LOOKS: usize = 4;

/// The pause before the next search; it doubles with each that finds nothing new, up to the time after which
/// names are looked up anew.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks the servers behind one name.
pub(crate) struct Backends<A, C> {
    node: Arc<Node<A>>,
    cluster: Arc<Cluster<A>>,
    connect: Arc<C>,
    manner: Manner,
    deadline: Deadline,
    known: Vec<Backend>,
    /// When it was last searched for more of them.
    looked: Option<Instant>,
    /// How many searches in a row found nothing new.
    in_vain: u32,
}

/// One server, and the connection on which it is asked.
struct Backend {
    conn: AsyncPgConnection,
    sighting: Sighting,
    /// When it was first asked.
    found: Instant,
}

impl<A, C: Connect> Backends<A, C> {
    pub(crate) fn new(
        node: Arc<Node<A>>,
        cluster: Arc<Cluster<A>>,
        connect: Arc<C>,
        manner: Manner,
        deadline: Deadline,
    ) -> Self {
        Backends { node, cluster, connect, manner, deadline, known: Vec::new(), looked: None, in_vain: 0 }
    }

    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        loop {
            if self.node.is_standby() {
                self.ask_all().await;
                if self.is_due() {
                    self.search().await;
                }
            } else {
                self.known.clear();
            }
            self.judge();
            let sightings = self.known.iter().map(|backend| backend.sighting).collect();
            self.node.set_backends(sightings);
            let circumstances =
                Circumstances { demand: self.cluster.demand.now(), ..Circumstances::default() };
            tokio::time::sleep(pace::pause(&self.cluster.config, circumstances)).await;
        }
    }

    /// Asks each; one that does not answer in time is forgotten, and searched for.
    async fn ask_all(&mut self) {
        for mut backend in std::mem::take(&mut self.known) {
            match self.ask(&mut backend.conn).await {
                Some(answer) => {
                    backend.sighting = self.cluster.sighting(&answer);
                    self.known.push(backend);
                }
                None => self.node.meet_stranger(),
            }
        }
    }

    async fn ask(&mut self, conn: &mut AsyncPgConnection) -> Option<Answer> {
        let waited = self.deadline.of_answer();
        let asked = awake::within(waited, tokio::time::sleep, ask(conn, &mut self.manner)).await;
        match asked {
            Some(answered) => {
                let answer = answered.ok()?;
                self.deadline.measured(answer.asked.elapsed());
                Some(answer)
            }
            None => {
                self.deadline.missed();
                None
            }
        }
    }

    fn is_due(&self) -> bool {
        let longest = self.cluster.config.resolve_interval;
        let pause = match self.node.has_met_stranger() {
            true => PAUSE.saturating_mul(1 << self.in_vain.min(16)).min(longest),
            false => longest,
        };
        self.looked.is_none_or(|at| at.elapsed() >= pause)
    }

    /// Opens connections, which are kept until the end of the search, so that a balancer that counts them
    /// leads elsewhere with the next.
    async fn search(&mut self) {
        let looks = match (self.looked.replace(Instant::now()), self.node.forget_stranger()) {
            (None, _) => FIRST_LOOKS,
            (Some(_), true) => LOOKS,
            (Some(_), false) => 1,
        };
        let before = self.known.len();
        let mut repeated = Vec::new();
        for _ in 0..looks {
            if self.known.len() == MOST_SERVERS {
                break;
            }
            let opened = self.connect.connect(self.node.endpoint());
            let opened = awake::within(self.deadline.of_opening(), tokio::time::sleep, opened).await;
            let Some(Ok(mut conn)) = opened else { break };
            let Some(answer) = self.ask(&mut conn).await else { continue };
            let sighting = self.cluster.sighting(&answer);
            if self.is_new(&sighting) {
                self.known.push(Backend { conn, sighting, found: sighting.asked });
            } else {
                repeated.push(conn);
            }
        }
        self.in_vain = if self.known.len() > before { 0 } else { self.in_vain.saturating_add(1) };
    }

    /// Finds out whether the name leads to several standbys; forgets the only one that it leads to, which the
    /// monitor asks.
    fn judge(&mut self) {
        let own = self.node.seen.borrow().up();
        let is_own = |known: &Backend| own.is_some_and(|own| own.started == known.sighting.started);
        // The monitor's answer must be the later one: else the server may have been restarted in between.
        let is_another = |known: &Backend| !is_own(known) && own.is_some_and(|own| own.asked > known.found);
        let is_standby = |known: &&Backend| known.sighting.role == Role::Standby;
        let standbys: Vec<_> = self.known.iter().filter(is_standby).collect();
        let several = match standbys[..] {
            [] => false,
            [only] => is_another(only),
            _ => true,
        };
        if several {
            self.node.note_several();
        } else if !self.node.leads_to_several() && self.known.iter().all(is_own) {
            self.known.clear();
        }
    }

    fn is_new(&self, sighting: &Sighting) -> bool {
        let system = self.node.seen.borrow().up().and_then(|own| own.system);
        let is_ours = system.is_none() || sighting.system == system;
        let is_known = |backend: &Backend| backend.sighting.started == sighting.started;
        is_ours && sighting.started.is_some() && !self.known.iter().any(is_known)
    }
}
