//! Logs statements, in the span of who ran them: never a bind value, never a constant.

use db_core::{QueryEvent, SqlState};
use tracing::Span;

use crate::statement::Statement;

/// A line for one statement, at level warn with `slow` and else at level info.
macro_rules! line {
    ($level:ident, $message:literal, $statement:expr, $event:expr) => {{
        let (statement, event): (&Statement, &QueryEvent<'_>) = ($statement, $event);
        let none = Span::none();
        tracing::$level!(
            parent: event.caller.map_or(&none, |caller| &caller.span),
            endpoint = %event.endpoint,
            statement = &*statement.text,
            summary = statement.summary.as_str(),
            elapsed = ?event.elapsed,
            first_row = ?event.first_row,
            rows = event.rows,
            bytes = event.bytes,
            failed = event.failed,
            sqlstate = event.sqlstate.as_ref().map(SqlState::as_str),
            cancelled = event.cancelled,
            site = event.caller.map(|caller| tracing::field::display(caller.site)),
            scope = event.caller.and_then(|caller| caller.scope.as_ref()).map(tracing::field::display),
            trace_link = event.caller.and_then(|caller| caller.trace).map(tracing::field::display),
            $message
        );
    }};
}

pub(crate) fn slow(statement: &Statement, event: &QueryEvent<'_>) {
    line!(warn, "slow statement", statement, event);
}

pub(crate) fn ended(statement: &Statement, event: &QueryEvent<'_>) {
    line!(info, "statement", statement, event);
}
