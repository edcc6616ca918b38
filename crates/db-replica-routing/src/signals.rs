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

impl Observe for Signals {
    fn on_query(&self, event: &QueryEvent<'_>) {
        // A statement that failed was answered too, but says nothing of how fast the node is.
        self.with(event.endpoint, |vitals| {
            vitals.answered(Instant::now(), (!event.failed).then_some(event.elapsed));
        });
        let told = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::READ_ONLY_SQL_TRANSACTION];
        if event.sqlstate.is_some_and(|code| told.contains(&code)) {
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
