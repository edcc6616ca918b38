//! What the pools' connections tell of their servers, as they go: answers, and links that were lost or
//! refused.
//!
//! It costs no query. A lost link wakes the monitors, so that a dead node is noticed before the next probe is
//! due, and answers tell how fast a node is, and that one whose probe came too late is busy, not gone.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use db_core::{Endpoint, LinkEvent, Observe, QueryEvent, SqlState};
use tokio::sync::watch;

use crate::vitals::Vitals;

/// Listens to the pools' connections on behalf of the [`Router`](crate::Router).
///
/// Give one clone to the connector that opens the pools' connections, as an observer, and one to the router.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    nodes: RwLock<HashMap<Endpoint, Arc<Vitals>>>,
    /// Counts the alarms.
    raised: watch::Sender<u64>,
}

impl Default for Inner {
    fn default() -> Self {
        Inner { nodes: RwLock::default(), raised: watch::Sender::new(0) }
    }
}

impl Signals {
    /// Wakes every monitor.
    pub(crate) fn raise(&self) {
        self.inner.raised.send_modify(|count| *count += 1);
    }

    /// Hears every alarm that is raised from now on, also while its owner is busy.
    pub(crate) fn alarms(&self) -> watch::Receiver<u64> {
        self.inner.raised.subscribe()
    }

    /// What is known of a node, from now on also by its connections.
    pub(crate) fn vitals(&self, endpoint: &Endpoint) -> Arc<Vitals> {
        let mut nodes = self.inner.nodes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(nodes.entry(endpoint.clone()).or_default())
    }

    /// The node is gone for good.
    #[cfg(feature = "patroni")]
    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        self.inner.nodes.write().unwrap_or_else(PoisonError::into_inner).remove(endpoint);
    }

    fn with(&self, endpoint: &Endpoint, tell: impl FnOnce(&Vitals)) {
        let nodes = self.inner.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(endpoint).inspect(|vitals| tell(vitals));
    }
}

/// Whether a server says with this that it is about to go, or is no longer what it was.
fn is_alarming(event: &QueryEvent<'_>) -> bool {
    let told = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::READ_ONLY_SQL_TRANSACTION];
    event.sqlstate.is_some_and(|code| told.contains(&code))
}

/// Notes that a node has answered. A statement that failed was answered too, but says nothing of how fast the
/// node is.
fn note_answer(vitals: &Vitals, event: &QueryEvent<'_>) {
    vitals.answered(event.sent + event.elapsed, (!event.failed).then_some(event.elapsed));
}

impl Observe for Signals {
    fn of_server(&self, endpoint: &Endpoint) -> Option<Arc<dyn Observe>> {
        let nodes = self.inner.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let vitals = Arc::clone(nodes.get(endpoint)?);
        Some(Arc::new(NodeSignals { vitals, all: self.clone() }))
    }

    fn on_query(&self, event: &QueryEvent<'_>) {
        self.with(event.endpoint, |vitals| note_answer(vitals, event));
        if is_alarming(event) {
            self.raise();
        }
    }

    fn on_link(&self, event: &LinkEvent<'_>) {
        match event {
            LinkEvent::Lost { endpoint } | LinkEvent::RoleChanged { endpoint, .. } => {
                self.with(endpoint, |vitals| vitals.doubt(Instant::now()));
                self.raise();
            }
            LinkEvent::Refused { .. } => self.raise(),
            _ => {}
        }
    }
}

/// Listens to the connections to one node.
struct NodeSignals {
    vitals: Arc<Vitals>,
    all: Signals,
}

impl Observe for NodeSignals {
    fn on_query(&self, event: &QueryEvent<'_>) {
        note_answer(&self.vitals, event);
        if is_alarming(event) {
            self.all.raise();
        }
    }

    fn on_link(&self, event: &LinkEvent<'_>) {
        self.all.on_link(event);
    }
}
