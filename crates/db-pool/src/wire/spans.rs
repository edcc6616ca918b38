//! Gives each statement that was sent the span that an observer makes for it.
//!
//! An observer is code of others, so it is asked without the session's lock. Nothing can be answered
//! meanwhile: one task writes and reads the connection.

use std::sync::Arc;

use db_core::Caller;
use tracing::Span;

use super::request::{Kind, Statement};
use super::{Session, Wire};

impl Wire {
    /// Opens the spans of what was sent since the last call.
    pub(super) fn open_spans(&self) {
        let sent = self.session().without_span();
        if sent.is_empty() {
            return;
        }
        let spans = sent.into_iter().map(|request| {
            let (statement, caller) = request?;
            self.observers.open_span(&statement.text, &self.endpoint, &caller)
        });
        let spans: Vec<Option<Span>> = spans.collect();
        self.session().give(spans);
    }
}

impl Session {
    /// The requests that nobody was asked about, the last one first; none stands for one that runs nothing
    /// for a caller.
    fn without_span(&self) -> Vec<Option<(Arc<Statement>, Arc<Caller>)>> {
        let latest = self.requests.iter().rev().take_while(|request| request.span.is_none());
        latest
            .map(|request| {
                let runs = request.kind == Kind::Run;
                request.statement.clone().filter(|_| runs).zip(request.caller.clone())
            })
            .collect()
    }

    /// Gives these spans to the last requests, the last one first.
    fn give(&mut self, spans: Vec<Option<Span>>) {
        for (request, span) in self.requests.iter_mut().rev().zip(spans) {
            request.span = Some(span.unwrap_or_else(Span::none));
        }
    }
}
