//! What the monitor tells of what it hears.
#![expect(clippy::unwrap_used, reason = "tests")]

mod checks;
mod collecting;
mod counting;
mod dashboard;
mod exporting;
mod exposing;
mod host;
mod keeping;
mod logging;
mod page;
mod reporting;
mod server;
mod telling;

use std::panic::Location;
use std::time::{Duration, Instant};

use db_core::{Caller, Checkout, Endpoint, QueryEvent, SqlState, WorkScope};
use db_monitoring::Monitor;

/// A statement that ended, as a pool would tell of it.
pub(crate) struct Ended<'a> {
    pub(crate) text: &'a str,
    pub(crate) millis: u64,
    pub(crate) rows: u64,
    pub(crate) code: Option<&'a str>,
}

impl<'a> Ended<'a> {
    pub(crate) fn well(text: &'a str, millis: u64) -> Self {
        Ended { text, millis, rows: 0, code: None }
    }
}

/// Tells the monitor of statements that a caller in the scope `job` ran.
#[track_caller]
pub(crate) fn tell(monitor: &Monitor, statements: &[Ended<'_>]) {
    let endpoint = Endpoint::new("db", 5433);
    let mut caller = Caller::now(Checkout(1), Location::caller());
    caller.scope = Some(WorkScope::named("job"));
    for ended in statements {
        let elapsed = Duration::from_millis(ended.millis);
        let mut event = QueryEvent::new(&endpoint, ended.text, Instant::now(), elapsed);
        event.caller = Some(&caller);
        event.rows = Some(ended.rows);
        event.bytes = Some(ended.rows * 20);
        event.first_row = (ended.rows > 0).then_some(elapsed / 2);
        event.sqlstate = ended.code.map(|code| code.parse().unwrap());
        event.failed = ended.code.is_some();
        event.cancelled = event.sqlstate == Some(SqlState::QUERY_CANCELED);
        monitor.observer().on_query(&event);
    }
}
