//! What of a session those must know who run work on it.

use db_core::Facts;

use super::Session;

impl Session {
    /// What whoever tries work again must know.
    pub(crate) fn facts(&self) -> Facts {
        if self.broken {
            return Facts { server: self.server, ..Facts::UNKNOWN };
        }
        Facts {
            status: Some(self.status),
            failed_with: self.failed_with,
            commits: Some(self.commits),
            waits_given_up: Some(self.waits_given_up),
            runs: Some(self.runs),
            prepares: Some(self.prepares),
            last_words: self.last_words,
            stale: self.staleness.is_stale(),
            server: self.server,
            begin: self.begin,
            opened: self.opened.clone(),
        }
    }
}
