//! Who a statement runs for: the checkout of a connection, and the code, the span and the unit of work behind
//! it.

use std::panic::Location;

use tracing::Span;

use crate::{Checkout, TraceLink, WorkScope};

/// Where in the service's own code something was asked for.
pub type Site = &'static Location<'static>;

/// Whoever checked a connection out, as it was at that moment.
///
/// One caller has a connection at a time, so what runs on it meanwhile runs for that caller: also what is
/// answered after the caller has gone.
///
/// ```
/// use std::panic::Location;
/// use db_core::{Caller, Checkout};
///
/// let caller = Caller::now(Checkout(7), Location::caller());
/// assert!(caller.scope.is_none());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Caller {
    /// Which checkout it is, among those of its pool.
    pub checkout: Checkout,
    /// The line of code that asked for the connection.
    pub site: Site,
    /// The span in which it asked.
    pub span: Span,
    /// The unit of work in which it asked, such as a request or a job, if it has a name.
    pub scope: Option<WorkScope>,
    /// What the server's log calls its span, where that was [asked for](crate::Observe::trace_link).
    pub trace: Option<TraceLink>,
}

impl Caller {
    /// The caller that asks now, in this task: its current span and its current scope.
    pub fn now(checkout: Checkout, site: Site) -> Self {
        Caller { checkout, site, span: Span::current(), scope: WorkScope::current(), trace: None }
    }
}
