//! The statements that a session has prepared by name.

use std::sync::Arc;

use super::super::request::Statement;
use super::Session;

impl Session {
    /// Names of statements whose preparation is under way: once nobody waits for them, nobody will close
    /// them.
    pub(crate) fn being_prepared(&self) -> Vec<Box<str>> {
        let names = self.requests.iter().flat_map(|request| request.names.iter());
        names.filter(|name| !name.is_empty()).cloned().collect()
    }

    /// Statements that are prepared by name.
    pub(crate) fn prepared(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.prepared.iter().filter(|(name, _)| !name.is_empty()).map(|(_, statement)| statement)
    }

    pub(crate) fn last_statement(&self) -> Option<&Arc<Statement>> {
        self.last.as_ref()
    }

    /// Whether one of this name is prepared.
    pub(crate) fn has_prepared(&self, name: &str) -> bool {
        self.prepared.contains_key(name)
    }
}
