//! A span for each statement, from its sending to the end of its answer, inside the span of who asked.
//!
//! Fields are OpenTelemetry's semantic conventions for database clients, so that a layer such as
//! tracing-opentelemetry exports it as they want it. The text is the normal form: neither bind values nor
//! constants.

use db_core::{Caller, Endpoint, QueryEvent, SqlState};
use tracing::{Level, Span, field};

use crate::statement::Statement;

/// Whether anybody listens to such spans.
pub(crate) fn is_wanted() -> bool {
    tracing::enabled!(target: "db_monitoring::query", Level::DEBUG)
}

pub(crate) fn begin(statement: &Statement, endpoint: &Endpoint, caller: &Caller) -> Span {
    let summary = &statement.summary;
    let name = if summary.as_str().is_empty() { "query" } else { summary.as_str() };
    tracing::debug_span!(
        target: "db_monitoring::query",
        parent: &caller.span,
        "query",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = "postgresql",
        db.query.summary = summary.as_str(),
        db.query.text = &*statement.text,
        db.operation.name = summary.operation(),
        db.collection.name = summary.collection(),
        db.response.status_code = field::Empty,
        db.response.returned_rows = field::Empty,
        "error.type" = field::Empty,
        server.address = endpoint.host(),
        server.port = endpoint.port(),
        code.line.number = caller.site.line(),
        code.file.path = caller.site.file(),
        scope = caller.scope.as_ref().map(field::display),
    )
}

pub(crate) fn end(span: &Span, event: &QueryEvent<'_>) {
    span.record("db.response.returned_rows", event.rows);
    if event.failed {
        let code = event.sqlstate.as_ref().map(SqlState::as_str);
        span.record("db.response.status_code", code);
        span.record("error.type", code.unwrap_or("connection_lost"));
        span.record("otel.status_code", "ERROR");
    }
}
