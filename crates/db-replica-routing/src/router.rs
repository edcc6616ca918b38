//! The router: nodes, a monitor for each, and where connections for writes and for reads come from.

use std::collections::HashMap;
#[cfg(feature = "patroni")]
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_core::{Acquire, Connect, Endpoint, EvictAll};
use tokio::task::AbortHandle;

use crate::cluster::{Cluster, Leader};
use crate::config::{NodeConfig, RouterConfig};
use crate::consistency::Unsaid;
use crate::freshness::Freshness;
use crate::monitor::Monitor;
use crate::node::Node;
use crate::pace;
use crate::probe::Manner;
use crate::purpose::Purpose;
use crate::reader::Reader;
use crate::seen::Seen;
use crate::session::Session;
use crate::signals::Signals;
use crate::topology::Topology;
use crate::writer::Writer;

/// Sends writes to the node that takes them, and reads to standbys that are alive and fresh enough.
///
/// Cheap to clone; the monitors end with the last clone.
pub struct Router<A> {
    pub(crate) inner: Arc<Inner<A>>,
}

type Watch<A> = dyn Fn(Arc<Cluster<A>>, Arc<Node<A>>) -> AbortHandle + Send + Sync;

pub(crate) struct Inner<A> {
    pub(crate) cluster: Arc<Cluster<A>>,
    unsaid: Unsaid,
    watch: Box<Watch<A>>,
    tasks: Mutex<Tasks>,
}

/// What runs as long as the router does.
#[derive(Default)]
struct Tasks {
    monitors: HashMap<Endpoint, AbortHandle>,
    #[cfg(feature = "patroni")]
    others: Vec<AbortHandle>,
    stopped: bool,
}

impl<A> Clone for Router<A> {
    fn clone(&self) -> Self {
        Router { inner: Arc::clone(&self.inner) }
    }
}

impl<A: Acquire + EvictAll + Send + Sync + 'static> Router<A> {
    /// A router over nodes whose roles it finds out. `open` makes a source of connections to a node for a
    /// purpose; `connect` makes what opens the monitor's own connections to a node; `signals` hears from all
    /// others.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<C>(
        nodes: impl IntoIterator<Item = impl Into<NodeConfig>>,
        open: impl Fn(&Endpoint, Purpose) -> A + Send + Sync + 'static,
        connect: impl Fn(&Endpoint) -> C + Send + Sync + 'static,
        config: RouterConfig,
        signals: Signals,
    ) -> Self
    where
        C: Connect + 'static,
    {
        let watch = move |cluster: Arc<Cluster<A>>, node: Arc<Node<A>>| {
            let connect = connect(node.endpoint());
            let manner = Manner::new(cluster.config.pooled);
            tokio::spawn(Monitor::new(node, cluster, connect, manner).run()).abort_handle()
        };
        let (wanted, usual) = (config.probe_interval, pace::usual(&config, None));
        if usual < wanted {
            let max_lag = config.max_lag;
            tracing::warn!(
                ?wanted,
                ?max_lag,
                "nodes are asked every {usual:?}: a lag is known as of a probe"
            );
        }
        let unsaid = Unsaid::new(config.consistency);
        let cluster = Arc::new(Cluster::new(config, signals, open));
        // All are known before the first is asked: none of them may be elected before the others had their
        // say.
        let added: Vec<_> = nodes.into_iter().filter_map(|node| cluster.add(node.into())).collect();
        let (watch, tasks) = (Box::new(watch), Mutex::default());
        let router = Router { inner: Arc::new(Inner { cluster, unsaid, watch, tasks }) };
        added.into_iter().for_each(|node| router.inner.watch(node));
        router
    }

    /// Adds a node while the router runs; nothing happens where it is known already.
    pub fn add(&self, node: impl Into<NodeConfig>) {
        self.inner.add(node.into());
    }

    /// Learns nodes, and changes of their leader, from Patroni as long as the router runs. A member with the
    /// tag `noloadbalance` answers no reads as a standby.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(feature = "patroni")]
    pub fn follow_patroni(&self, known: impl IntoIterator<Item = crate::PatroniUrl>) {
        // A strong reference would keep the router alive for ever.
        let inner = Arc::downgrade(&self.inner);
        let (mut leader, mut learned) = (None, HashSet::new());
        let watch = crate::patroni::Patroni::new(known).watch(move |description| {
            let Some(inner) = inner.upgrade() else { return };
            for (endpoint, reads) in description.nodes() {
                if inner.add(endpoint.clone().into()) {
                    learned.insert(endpoint.clone());
                }
                inner.node(&endpoint).inspect(|node| node.withhold(!reads || !node.config.reads));
            }
            // Wherever addresses come and go with the servers, the old ones would fill the room for the new
            // ones.
            let named: HashSet<Endpoint> = description.nodes().map(|(endpoint, _)| endpoint).collect();
            learned.retain(|endpoint| named.contains(endpoint) || !inner.remove(endpoint));
            let leads = description.leader();
            if leads.is_some() && leads != leader {
                leader = leads;
                inner.cluster.signals.raise();
            }
        });
        let mut tasks = self.inner.tasks();
        if !tasks.stopped {
            tasks.others.push(tokio::spawn(watch).abort_handle());
        }
    }
}

impl<A> Router<A> {
    /// Where connections for writes come from.
    pub fn writer(&self) -> Writer<'_, A> {
        Writer::new(&self.inner.cluster)
    }

    /// Where connections for one read come from. In a session's [scope](crate::Session::scope),
    /// [`Freshness::Default`] is what that session asks for.
    pub fn reader(&self, freshness: Freshness) -> Reader<'_, A> {
        let freshness = match freshness {
            Freshness::Default => self.freshness_in(Session::current().as_ref()),
            asked => asked,
        };
        Reader::new(&self.inner.cluster, freshness)
    }

    /// How fresh the answer to a read must be that does not say it, for a caller in this session:
    /// [`RouterConfig::consistency`] and what the session has written.
    pub fn freshness_in(&self, session: Option<&Session>) -> Freshness {
        self.inner.unsaid.freshness(session)
    }

    /// The session of the whole process, with [`ReadConsistency::Process`](crate::ReadConsistency::Process):
    /// for transactions that run in no other.
    pub fn process_session(&self) -> Option<&Session> {
        self.inner.unsaid.process()
    }

    /// A transaction in this session has ended: the process has to see what it wrote, too.
    pub fn heard_of(&self, session: &Session) {
        if let Some(process) = self.process_session() {
            process.hear(session);
        }
    }

    /// What `look` makes of each source of connections that is open: each node's own, and the one for reads
    /// on a primary.
    pub fn sources<T>(&self, mut look: impl FnMut(Purpose, &A) -> T) -> Vec<T> {
        let mut seen = Vec::new();
        for node in self.inner.cluster.nodes.now().iter() {
            seen.push(look(Purpose::Plain, &node.plain));
            seen.extend(node.read_only.get().map(|source| look(Purpose::ReadOnly, source)));
        }
        seen
    }

    /// Whether a pooler lies in between that may lead each transaction to another session of the server's
    /// ([`RouterConfig::pooled`]).
    pub fn is_pooled(&self) -> bool {
        self.inner.cluster.config.pooled
    }

    /// What the router sees now.
    pub fn topology(&self) -> Topology {
        Topology::of(&self.inner.cluster)
    }

    /// Tells `hook` which history the writer continues: its system identifier, where the server tells it, and
    /// its timeline; now, and whenever it is another one, before any caller is led to that writer. The last
    /// hook counts.
    ///
    /// It is called in a monitor's task and must not block.
    pub fn on_history(&self, hook: impl Fn(Option<u64>, u32) + Send + Sync + 'static) {
        self.inner.cluster.histories.tell(Arc::new(hook));
    }

    /// Waits until every node has been asked once and there is a writer, but no longer than `patience`: right
    /// after a start nothing is known.
    pub async fn settle(&self, patience: Duration) {
        let cluster = &self.inner.cluster;
        let settled = async {
            let nodes: Vec<_> = cluster.nodes.now().iter().cloned().collect();
            for node in nodes {
                let mut seen = node.seen.subscribe();
                let _ = seen.wait_for(|seen| *seen != Seen::Nothing).await;
            }
            let mut leader = cluster.leader.subscribe();
            let _ = leader.wait_for(|leader| !matches!(leader, Leader::Nobody(_))).await;
        };
        let _ = tokio::time::timeout(patience, settled).await;
    }

    /// Ends the monitors, and hands out no connection any more: callers that ask or wait are told that the
    /// pool is closed.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl<A: Acquire + EvictAll + Send + Sync + 'static> Inner<A> {
    /// Whether it was new.
    fn add(&self, config: NodeConfig) -> bool {
        // A pool that is opened now would outlive the shutdown.
        if self.tasks().stopped {
            return false;
        }
        let Some(node) = self.cluster.add(config) else { return false };
        tracing::info!(endpoint = %node.endpoint(), "a new node");
        self.watch(node);
        true
    }

    fn watch(&self, node: Arc<Node<A>>) {
        let mut tasks = self.tasks();
        if !tasks.stopped {
            let endpoint = node.endpoint().clone();
            tasks.monitors.insert(endpoint, (self.watch)(Arc::clone(&self.cluster), node));
        }
    }

    #[cfg(feature = "patroni")]
    fn node(&self, endpoint: &Endpoint) -> Option<Arc<Node<A>>> {
        self.cluster.nodes.now().iter().find(|node| node.endpoint() == endpoint).cloned()
    }

    /// Whether it is gone: it was down.
    #[cfg(feature = "patroni")]
    fn remove(&self, endpoint: &Endpoint) -> bool {
        let Some(node) = self.node(endpoint) else { return true };
        let removed = self.cluster.remove(&node);
        if removed {
            tracing::info!(%endpoint, "a node is gone for good");
            self.tasks().monitors.remove(endpoint).inspect(AbortHandle::abort);
        }
        removed
    }
}

impl<A> Inner<A> {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.cluster.stop();
        let mut tasks = self.tasks();
        tasks.stopped = true;
        tasks.monitors.values().for_each(AbortHandle::abort);
        #[cfg(feature = "patroni")]
        tasks.others.iter().for_each(AbortHandle::abort);
    }
}

impl<A> Drop for Inner<A> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<A> fmt::Debug for Router<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Router").field(&self.inner.cluster).finish()
    }
}
