//! Watches the statements of one connection through diesel's instrumentation.
//!
//! It knows whether a call is under way whose request may still be queued, which the wire tap cannot see, and
//! how many statements diesel keeps prepared. Where there is no tap it also reports the statements, as far as
//! it sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Instant;

use db_core::{Endpoint, QueryEvent};
use diesel::connection::{Instrumentation, InstrumentationEvent};

use crate::observers::Observers;
use crate::wire::Wire;

/// What one connection's instrumentation has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    under_way: AtomicI64,
    cached: AtomicUsize,
}

impl Seen {
    /// Whether a statement was sent whose answer nobody has read.
    pub(crate) fn statement_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire) != 0
    }

    /// Statements prepared and kept since the last [`Seen::forget_cached`].
    pub(crate) fn cached(&self) -> usize {
        self.cached.load(Ordering::Relaxed)
    }

    /// Nothing is under way any more.
    pub(crate) fn forget(&self) {
        self.under_way.store(0, Ordering::Release);
    }

    pub(crate) fn forget_cached(&self) {
        self.cached.store(0, Ordering::Relaxed);
    }
}

/// The instrumentation of one connection.
pub(crate) struct Watch {
    pub(crate) endpoint: Endpoint,
    pub(crate) seen: Arc<Seen>,
    /// Knows who has the connection.
    pub(crate) wire: Arc<Wire>,
    pub(crate) observers: Observers,
    /// Whether statements are reported from here.
    pub(crate) reports: bool,
    pub(crate) sent: Option<Instant>,
}

impl Instrumentation for Watch {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { .. } => {
                self.seen.under_way.fetch_add(1, Ordering::AcqRel);
                self.sent = self.reports.then(Instant::now);
            }
            InstrumentationEvent::FinishQuery { query, error, .. } => {
                self.seen.under_way.fetch_sub(1, Ordering::AcqRel);
                if let Some(sent) = self.sent.take() {
                    self.report(&query.to_string(), sent, error.is_some());
                }
            }
            InstrumentationEvent::CacheQuery { .. } => {
                self.seen.cached.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Watch {
    fn report(&self, printed: &str, sent: Instant, failed: bool) {
        // diesel prints the bind values behind this mark; they never leave the process.
        let statement = printed.split(" -- binds: ").next().unwrap_or_default();
        let mut event = QueryEvent::new(&self.endpoint, statement, sent, sent.elapsed());
        let caller = self.wire.session().caller.clone();
        event.caller = caller.as_deref();
        event.failed = failed;
        self.observers.tell(|observer| observer.on_query(&event));
    }
}
