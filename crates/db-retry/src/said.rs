//! What the server said of a failure, beyond its class, and what that means for the next attempt.
//!
//! Some failures would come again, or are somebody's wish, although their class says that another attempt may
//! help.

use std::time::Duration;

use db_core::{Class, Classify, Facts, ServerId, SqlState};

use crate::config::RetryConfig;

/// What the server said of a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its code, or that with which it ended the session.
    pub(crate) code: Option<SqlState>,
    /// Whether the client's own knowledge was stale, and nothing was done.
    pub(crate) stale: bool,
    /// Which server it was.
    pub(crate) server: Option<ServerId>,
}

impl Said {
    /// What is known of a failure on a connection.
    pub(crate) fn of<E: Classify>(error: &E, facts: &Facts) -> Self {
        let code = facts.last_words.or(error.code()).or(facts.failed_with);
        Said { code, stale: facts.stale, server: facts.server }
    }
}

/// The failures of one call so far, as far as they bear on the next.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// The run of a server that an operator ended a session on.
    terminated_on: Option<ServerId>,
}

impl Before {
    /// What a failure of `class` means for the next attempt, `elapsed` after the one that failed began.
    pub(crate) fn judge(
        &mut self,
        class: Class,
        said: &Said,
        elapsed: Duration,
        config: &RetryConfig,
    ) -> Class {
        let Some(code) = said.code else { return class };
        match code {
            // The caller has said how long it waits for a lock, or that it does not.
            SqlState::LOCK_NOT_AVAILABLE if !config.lock_timeouts => Class::Permanent,
            // Well before its time: somebody wished it to end.
            SqlState::QUERY_CANCELED if config.statement_timeout.is_some_and(|limit| elapsed < limit) => {
                Class::Permanent
            }
            // The first may be a drain or a failover. A second one from the same run of the server is a wish.
            SqlState::ADMIN_SHUTDOWN => {
                let same =
                    |server: &ServerId| server.started.is_some() && self.terminated_on == Some(*server);
                if said.server.as_ref().is_some_and(same) {
                    return Class::Permanent;
                }
                self.terminated_on = said.server;
                class
            }
            _ => class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: SqlState, started: i64) -> Said {
        let server = ServerId { system: None, started: Some(started) };
        Said { code: Some(code), stale: false, server: Some(server) }
    }

    #[test]
    fn a_wish_is_told_from_an_accident() {
        let second = Duration::from_secs(1);
        let config = RetryConfig { statement_timeout: Some(second), ..RetryConfig::default() };
        let mut before = Before::default();
        let mut judge =
            |class, code, started, elapsed| before.judge(class, &said(code, started), elapsed, &config);
        let (gone, ended) = (Class::Unavailable, SqlState::ADMIN_SHUTDOWN);
        assert_eq!(judge(gone, ended, 1, second), gone, "the first may be a drain");
        assert_eq!(judge(gone, ended, 2, second), gone, "of another run of the server");
        assert_eq!(judge(gone, ended, 2, second), Class::Permanent);
        let (busy, cancelled) = (Class::Overloaded, SqlState::QUERY_CANCELED);
        assert_eq!(judge(busy, cancelled, 1, second / 2), Class::Permanent);
        assert_eq!(judge(busy, cancelled, 1, second), busy, "the server's own timeout");
        assert_eq!(judge(Class::Conflict, SqlState::LOCK_NOT_AVAILABLE, 1, second), Class::Permanent);
        let unknown = RetryConfig { lock_timeouts: true, ..RetryConfig::default() };
        let judged = Before::default().judge(busy, &said(cancelled, 1), Duration::ZERO, &unknown);
        assert_eq!(judged, busy, "nobody knows the timeout");
        let lock = said(SqlState::LOCK_NOT_AVAILABLE, 1);
        let judged = Before::default().judge(Class::Conflict, &lock, Duration::ZERO, &unknown);
        assert_eq!(judged, Class::Conflict, "the caller asked for it");
    }
}
