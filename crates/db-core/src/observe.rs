//! What a connection tells whoever watches: statements that ran, and links that came and went.
//!
//! Observers are called where the bytes are read, in the connection's own task. They must not block, should
//! not allocate, and must not panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Span;

use crate::{BindHashes, Caller, Endpoint, Role, SqlState, TraceLink};

/// Names one checkout of one connection, among those of its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checkout(pub u64);

/// One statement that ended, well or not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueryEvent<'a> {
    /// The server that ran it.
    pub endpoint: &'a Endpoint,
    /// Who it ran for; none for what the pool itself asks, such as a sign of life.
    pub caller: Option<&'a Caller>,
    /// The statement's text with placeholders; never bind values.
    pub statement: &'a str,
    /// When it was sent.
    pub sent: Instant,
    /// From sending to the end of the answer.
    pub elapsed: Duration,
    /// From sending to the first row, where the instrument can see rows.
    pub first_row: Option<Duration>,
    /// Rows that came back, where the instrument can see them.
    pub rows: Option<u64>,
    /// Rows that it inserted, updated, deleted or merged, where it did and the instrument can see it.
    pub written: Option<u64>,
    /// Bytes that came back, where the instrument can see them.
    pub bytes: Option<u64>,
    /// Whether it ended in an error.
    pub failed: bool,
    /// The server's code for that error, where the instrument can see it.
    pub sqlstate: Option<SqlState>,
    /// Whether it was cancelled: by request, by `statement_timeout`, or because its caller went away.
    pub cancelled: bool,
    /// Hashes of its parameters, where an observer [wants](Observe::wants_binds) them and the instrument can
    /// see them.
    pub binds: Option<BindHashes>,
    /// The span that [`Observe::open_span`] made for it; it is closed when all observers were told.
    pub span: Option<&'a Span>,
}

impl<'a> QueryEvent<'a> {
    /// An event with what every instrument knows; the rest is set by those that see more.
    pub fn new(endpoint: &'a Endpoint, statement: &'a str, sent: Instant, elapsed: Duration) -> Self {
        QueryEvent {
            endpoint,
            caller: None,
            statement,
            sent,
            elapsed,
            first_row: None,
            rows: None,
            written: None,
            bytes: None,
            failed: false,
            sqlstate: None,
            cancelled: false,
            binds: None,
            span: None,
        }
    }
}

/// A change of a connection as such.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LinkEvent<'a> {
    /// A connection was opened.
    Opened {
        /// The server at its other end.
        endpoint: &'a Endpoint,
        /// How long it took, from the first packet to being ready.
        elapsed: Duration,
    },
    /// A connection was lost: the server or the network closed it.
    Lost {
        /// The server at its other end.
        endpoint: &'a Endpoint,
    },
    /// No connection could be opened.
    Refused {
        /// The server that was tried.
        endpoint: &'a Endpoint,
    },
    /// The server has stopped: it neither answers what it was asked nor whoever knocks.
    Stalled {
        /// The server.
        endpoint: &'a Endpoint,
    },
    /// The server at the other end was promoted or demoted.
    RoleChanged {
        /// The server at its other end.
        endpoint: &'a Endpoint,
        /// The role that it has now.
        role: Role,
    },
}

/// Watches connections. Every method has a default that does nothing.
pub trait Observe: Send + Sync {
    /// A statement ended.
    fn on_query(&self, event: &QueryEvent<'_>) {
        let _ = event;
    }

    /// The observer of the connections to one server, in the place of this one: where it keeps something for
    /// each server, it need not look that up for each statement. It is asked once for each connection; none
    /// is the observer itself.
    fn of_server(&self, endpoint: &Endpoint) -> Option<Arc<dyn Observe>> {
        let _ = endpoint;
        None
    }

    /// Whether it looks at [`QueryEvent::binds`]. It is asked once for each connection.
    fn wants_binds(&self) -> bool {
        false
    }

    /// Whether [`open_span`](Observe::open_span) would make a span now. It is asked whenever something is
    /// sent.
    fn wants_spans(&self) -> bool {
        false
    }

    /// A statement was sent for a caller: makes the span that lasts until it has ended. It must be quick, as
    /// `on_query`.
    fn open_span(&self, statement: &str, endpoint: &Endpoint, caller: &Caller) -> Option<Span> {
        let _ = (statement, endpoint, caller);
        None
    }

    /// Whether [`trace_link`](Observe::trace_link) may ever name a span. It is asked once for each
    /// connection.
    fn wants_trace_links(&self) -> bool {
        false
    }

    /// What the server's log is to call the span of a caller that has just checked a connection out, in the
    /// caller's own task. It travels with the first statement of a transaction, and ends with it; none leaves
    /// no trace.
    fn trace_link(&self, caller: &Caller) -> Option<TraceLink> {
        let _ = caller;
        None
    }

    /// The server said something beside its answer: a NOTICE, a WARNING. The message may hold values of rows.
    fn on_notice(&self, endpoint: &Endpoint, severity: &str, message: &str) {
        let _ = (endpoint, severity, message);
    }

    /// A connection came, went or changed.
    fn on_link(&self, event: &LinkEvent<'_>) {
        let _ = event;
    }
}
