//! The router: one primary, any number of standbys, and a monitor for each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use db_core::{Acquire, Connect, Endpoint, Role};
use tokio::task::AbortHandle;

use crate::alarm::LinkAlarm;
use crate::config::RouterConfig;
use crate::freshness::Freshness;
use crate::monitor::Monitor;
use crate::node::{Node, Seen};
use crate::positions::Positions;
use crate::reader::Reader;
use crate::topology::{NodeStatus, Topology};

/// What the connections of a source are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Writes, on the primary.
    Write,
    /// Reads, on a standby.
    Read,
    /// Reads on the primary, when no standby may answer: its sessions must refuse writes, as a standby's do.
    FallbackRead,
}

/// Sends writes to the primary, and reads to standbys that are alive and fresh enough.
///
/// Cheap to clone; the monitors end with the last clone.
#[derive(Debug)]
pub struct Router<A> {
    inner: Arc<Inner<A>>,
}

#[derive(Debug)]
struct Inner<A> {
    config: RouterConfig,
    writer: A,
    primary: Arc<Node<A>>,
    standbys: Vec<Arc<Node<A>>>,
    alarm: LinkAlarm,
    monitors: Vec<AbortHandle>,
}

impl<A> Clone for Router<A> {
    fn clone(&self) -> Self {
        Router { inner: Arc::clone(&self.inner) }
    }
}

impl<A: Acquire + Send + Sync + 'static> Router<A> {
    /// A router over one primary and its standbys. `open` makes a source of connections to a node for a purpose;
    /// `connect` makes what opens the monitor's own connections to a node; `alarm` hastens the probes.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<C>(
        (primary, standbys): (Endpoint, Vec<Endpoint>),
        open: impl Fn(&Endpoint, Purpose) -> A,
        connect: impl Fn(&Endpoint) -> C,
        config: RouterConfig,
        alarm: LinkAlarm,
    ) -> Self
    where
        C: Connect + 'static,
    {
        let writer = open(&primary, Purpose::Write);
        let fallback = open(&primary, Purpose::FallbackRead);
        let primary = Arc::new(Node::new(primary, fallback));
        let standbys: Vec<_> = standbys
            .into_iter()
            .map(|endpoint| {
                let source = open(&endpoint, Purpose::Read);
                Arc::new(Node::new(endpoint, source))
            })
            .collect();
        let positions = Arc::new(Positions::default());
        let watch = |node: &Arc<Node<A>>, configured| {
            let monitor = Monitor {
                node: Arc::clone(node),
                connect: connect(&node.endpoint),
                config: config.clone(),
                alarm: alarm.clone(),
                positions: Arc::clone(&positions),
                configured,
            };
            tokio::spawn(monitor.run()).abort_handle()
        };
        let mut monitors = vec![watch(&primary, Role::Primary)];
        monitors.extend(standbys.iter().map(|node| watch(node, Role::Standby)));
        Router { inner: Arc::new(Inner { config, writer, primary, standbys, alarm, monitors }) }
    }
}

impl<A> Router<A> {
    /// Where connections for writes come from.
    pub fn writer(&self) -> &A {
        &self.inner.writer
    }

    /// Where connections for reads come from.
    pub fn reader(&self, freshness: Freshness) -> Reader<'_, A> {
        Reader::new(self, freshness)
    }

    /// Every source of connections: the writer's, the one for reads on the primary, and the standbys'.
    pub fn sources(&self) -> impl Iterator<Item = &A> {
        let nodes = std::iter::once(&self.inner.primary).chain(&self.inner.standbys);
        std::iter::once(&self.inner.writer).chain(nodes.map(|node| &node.source))
    }

    /// What the router sees now.
    pub fn topology(&self) -> Topology {
        let primary = std::iter::once((&self.inner.primary, Role::Primary));
        let standbys = self.inner.standbys.iter().map(|node| (node, Role::Standby));
        Topology {
            nodes: primary.chain(standbys).map(|(node, configured)| status(node, configured)).collect(),
        }
    }

    /// Waits until every node was reached once, but no longer than `patience`: right after a start no standby is known
    /// to be alive, and reads would go to the primary.
    pub async fn settle(&self, patience: Duration) {
        let nodes = std::iter::once(&self.inner.primary).chain(&self.inner.standbys);
        let all_up = async {
            for node in nodes {
                let mut seen = node.seen.subscribe();
                let _ = seen.wait_for(|seen| *seen != Seen::Down).await;
            }
        };
        let _ = tokio::time::timeout(patience, all_up).await;
    }

    /// Ends the monitors: from now on nothing is learned of the nodes.
    pub fn stop(&self) {
        self.inner.stop();
    }

    pub(crate) fn alarm(&self) -> &LinkAlarm {
        &self.inner.alarm
    }

    pub(crate) fn config(&self) -> &RouterConfig {
        &self.inner.config
    }

    pub(crate) fn primary(&self) -> &Arc<Node<A>> {
        &self.inner.primary
    }

    pub(crate) fn standbys(&self) -> &[Arc<Node<A>>] {
        &self.inner.standbys
    }
}

fn status<A>(node: &Node<A>, configured: Role) -> NodeStatus {
    let (role, lag) = match *node.seen.borrow() {
        Seen::Up { role, lag } => (Some(role), lag),
        Seen::Down => (None, None),
    };
    NodeStatus {
        endpoint: node.endpoint.clone(),
        configured,
        role,
        lag,
        trouble: node.trouble(),
        reads: node.reads.load(Ordering::Relaxed),
        in_flight: node.in_flight.load(Ordering::Relaxed),
    }
}

impl<A> Inner<A> {
    fn stop(&self) {
        self.monitors.iter().for_each(AbortHandle::abort);
    }
}

impl<A> Drop for Inner<A> {
    fn drop(&mut self) {
        self.stop();
    }
}
