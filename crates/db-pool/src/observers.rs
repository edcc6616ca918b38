//! Calls the service's observers: code of others, which may panic or block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db_core::{Caller, Endpoint, Observe, TraceLink, foreign};
use tracing::Span;

/// How long opening a connection waits until observers have heard of it.
const PROMPT: Duration = Duration::from_millis(100);

/// The observers of one connector's connections.
#[derive(Clone)]
pub(crate) struct Observers {
    all: Arc<[Arc<dyn Observe>]>,
    said: Arc<Said>,
}

/// What was said of them: once is enough.
#[derive(Default)]
struct Said {
    panics: AtomicBool,
    blocks: AtomicBool,
}

impl Default for Observers {
    fn default() -> Self {
        Observers::from_iter([])
    }
}

impl FromIterator<Arc<dyn Observe>> for Observers {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Observe>>>(all: I) -> Self {
        Observers { all: all.into_iter().collect(), said: Arc::default() }
    }
}

impl Observers {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tells each of them; one that panics must not take its caller with it.
    pub(crate) fn tell(&self, what: impl Fn(&dyn Observe)) {
        for observer in self.all.iter() {
            if catch_unwind(AssertUnwindSafe(|| what(&**observer))).is_err()
                && !self.said.panics.swap(true, Ordering::Relaxed)
            {
                tracing::error!(
                    "an observer of connections panicked; it is called again, and this is said once: mend the type that \
                     implements Observe"
                );
            }
        }
    }

    /// The same for the connections to one server.
    pub(crate) fn of_server(&self, endpoint: &Endpoint) -> Self {
        let of_server = |observer: &Arc<dyn Observe>| {
            foreign::call(|| observer.of_server(endpoint)).flatten().unwrap_or_else(|| Arc::clone(observer))
        };
        Observers { all: self.all.iter().map(of_server).collect(), said: Arc::clone(&self.said) }
    }

    /// Whether one of them looks at the parameters' hashes.
    pub(crate) fn want_binds(&self) -> bool {
        self.all.iter().any(|observer| foreign::call(|| observer.wants_binds()).unwrap_or(false))
    }

    /// Whether one of them makes spans now.
    pub(crate) fn want_spans(&self) -> bool {
        self.all.iter().any(|observer| foreign::call(|| observer.wants_spans()).unwrap_or(false))
    }

    /// Whether one of them may name spans for the server's log.
    pub(crate) fn want_trace_links(&self) -> bool {
        self.all.iter().any(|observer| foreign::call(|| observer.wants_trace_links()).unwrap_or(false))
    }

    /// What the first of them that names it calls the caller's span.
    pub(crate) fn trace_link(&self, caller: &Caller) -> Option<TraceLink> {
        self.all.iter().find_map(|observer| foreign::call(|| observer.trace_link(caller)).flatten())
    }

    /// The span of the first of them that makes one.
    pub(crate) fn open_span(&self, statement: &str, endpoint: &Endpoint, caller: &Caller) -> Option<Span> {
        let open = |observer: &Arc<dyn Observe>| {
            foreign::call(|| observer.open_span(statement, endpoint, caller)).flatten()
        };
        self.all.iter().find_map(open)
    }

    /// Tells each of them on a thread where it may block, and waits for the end of that, but not for long.
    pub(crate) async fn tell_apart(&self, what: impl Fn(&dyn Observe) + Send + 'static) {
        if self.is_empty() {
            return;
        }
        let observers = self.clone();
        let told = tokio::task::spawn_blocking(move || observers.tell(what));
        if tokio::time::timeout(PROMPT, told).await.is_err()
            && !self.said.blocks.swap(true, Ordering::Relaxed)
        {
            tracing::error!(
                "an observer of connections blocks in on_link; nobody waits for it, and this is said once: mend the type \
                 that implements Observe"
            );
        }
    }
}
