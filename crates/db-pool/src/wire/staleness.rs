//! What the client keeps of the database and proved stale, or is doubted to be.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::frames::text;
use super::request::Statement;
use super::server_error::{ServerError, Stale};
use crate::doubts::Doubts;

/// The first number that PostgreSQL gives to what is made in a database (FirstNormalObjectId).
const FIRST_OWN: u32 = 16_384;

#[derive(Default)]
pub(crate) struct Staleness {
    /// What the last error said.
    last: Option<Stale>,
    /// The most since it was checked out.
    found: Option<Stale>,
    /// The statement whose error a new connection might not have.
    doubted: Option<Arc<Statement>>,
    doubts: Doubts,
    /// Of so many doubts it is known that this connection is as new.
    confirmed: u64,
    /// The types of the database's own (OIDs) that parameters were said to be of.
    types: BTreeSet<u32>,
}

impl Staleness {
    /// Of a connection that is about to be opened.
    pub(crate) fn of_new(doubts: &Doubts) -> Self {
        Staleness { doubts: doubts.clone(), confirmed: doubts.raised(), ..Staleness::default() }
    }

    pub(crate) fn check_out(&mut self) {
        (self.last, self.found, self.doubted) = (None, None, None);
    }

    /// Whether the last error says so.
    pub(super) fn is_stale(&self) -> bool {
        self.last.is_some()
    }

    pub(super) fn succeeded(&mut self) {
        self.last = None;
    }

    /// A statement failed before it ran; whether the statements that are prepared must be dropped.
    pub(super) fn failed(&mut self, error: &ServerError<'_>, statement: Option<&Arc<Statement>>) -> bool {
        self.last = error.stale();
        if self.last == Some(Stale::Doubt) {
            self.doubted =
                statement.filter(|failed| !self.doubts.is_answered(&failed.text, self.confirmed)).cloned();
            self.last = self.last.filter(|_| self.doubted.is_some());
        }
        self.found = self.found.max(self.last);
        self.last.is_some_and(|stale| stale != Stale::Doubt)
    }

    /// The most that proved stale since it was checked out.
    pub(crate) fn found(&self) -> Option<Stale> {
        self.found
    }

    /// Raises the doubt that an error has left.
    pub(crate) fn raise_doubt(&mut self) {
        if let Some(statement) = self.doubted.take() {
            self.doubts.raise(&statement.text, self.confirmed);
        }
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// It was asked when there were so many doubts, and is as new.
    pub(crate) fn confirm(&mut self, doubts: u64) {
        self.confirmed = doubts;
    }

    /// The types of the database's own that the client believes to know, separated by commas.
    pub(crate) fn types(&self) -> String {
        self.types.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
    }

    /// Reads the types of parameters in what follows the name in a Parse.
    pub(super) fn parsed(&mut self, rest: &[u8]) {
        let types = text(rest).and_then(|(_, types)| types.get(2..)).unwrap_or_default();
        let oids =
            types.chunks_exact(4).filter_map(|oid| oid.first_chunk().map(|oid| u32::from_be_bytes(*oid)));
        self.types.extend(oids.filter(|oid| *oid >= FIRST_OWN));
    }
}
