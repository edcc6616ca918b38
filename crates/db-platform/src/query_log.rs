//! Logs statements that are slow, or all of them.

use std::time::Duration;

use db_core::{Observe, QueryEvent, SqlState};

pub(crate) struct QueryLog {
    pub(crate) slow: Option<Duration>,
    pub(crate) all: bool,
}

impl Observe for QueryLog {
    fn on_query(&self, event: &QueryEvent<'_>) {
        let QueryEvent { endpoint, statement, elapsed, first_row, rows, failed, cancelled, .. } = event;
        let sqlstate = event.sqlstate.as_ref().map(SqlState::as_str);
        if self.slow.is_some_and(|slow| *elapsed >= slow) {
            tracing::warn!(%endpoint, statement, ?elapsed, ?first_row, rows, failed, sqlstate, cancelled, "slow statement");
        } else if self.all {
            tracing::info!(%endpoint, statement, ?elapsed, rows, failed, sqlstate, cancelled, "statement");
        }
    }
}
