//! What a session has asked that the server has not answered: whose it is, and since when it can be waited
//! for.

use std::time::Instant;

use super::super::request::{Foreign, Kind, Request};
use super::Session;

impl Session {
    /// What the user of the connection has asked and the server may be at work on, our own empty requests
    /// aside.
    ///
    /// After an error the server does nothing more for a request than to say that it is ready, which it does
    /// by itself.
    pub(crate) fn foreign(&self) -> Foreign {
        let theirs = self
            .requests
            .iter()
            .filter(|request| request.kind > Kind::Close && !request.is_empty() && !request.failed);
        theirs.fold(Foreign::Nothing, |foreign, request| match &request.statement {
            Some(statement) if statement.leftover.commits => Foreign::Commit,
            _ => foreign.max(Foreign::Something),
        })
    }

    /// Since when someone may wait for the request that is answered next.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.requests.iter().find(|request| request.kind > Kind::Close).map(Request::awaited_since)
    }
}
