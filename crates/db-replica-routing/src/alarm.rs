//! Wakes the monitors when a connection is lost or refused, so that a dead node is noticed before the next probe is due.

use std::sync::Arc;

use db_core::{LinkEvent, Observe};
use tokio::sync::Notify;

/// Wakes the monitors when any connection is lost or refused.
///
/// Give it to the connector that opens the pools' connections, and to the [`Router`](crate::Router).
#[derive(Debug, Clone, Default)]
pub struct LinkAlarm {
    raised: Arc<Notify>,
}

impl LinkAlarm {
    /// Raises it.
    pub(crate) fn raise(&self) {
        self.raised.notify_waiters();
    }

    /// Waits until the alarm is raised again.
    pub(crate) async fn raised(&self) {
        self.raised.notified().await;
    }
}

impl Observe for LinkAlarm {
    fn on_link(&self, event: &LinkEvent<'_>) {
        if matches!(event, LinkEvent::Lost { .. } | LinkEvent::Refused { .. }) {
            self.raise();
        }
    }
}
