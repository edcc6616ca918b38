//! Why something is not known: what could not be read is never taken for a good answer.

use std::fmt;

use db_core::{Class, Classify, Error, SqlState};
use serde::Serialize;

/// Why something is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipReason {
    /// It was not asked for yet, or there is too little to compare with.
    TooSoon,
    /// The role may not see it.
    NoPermission,
    /// This server, version or database does not have it.
    Missing,
    /// It does not apply to this server: the archiver of a server that archives nothing.
    NotApplicable,
    /// A lock of somebody else's was in the way, and we do not queue up.
    Locked,
    /// The server did not answer in time.
    TimedOut,
    /// No connection: the server is down, or does not let us in.
    Unreachable,
    /// The server refused the question in another way.
    Refused,
    /// Another process of the service looks at it: only one does.
    NotLeader,
}

impl SkipReason {
    /// The name in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::TooSoon => "too_soon",
            SkipReason::NoPermission => "no_permission",
            SkipReason::Missing => "missing",
            SkipReason::NotApplicable => "not_applicable",
            SkipReason::Locked => "locked",
            SkipReason::TimedOut => "timed_out",
            SkipReason::Unreachable => "unreachable",
            SkipReason::Refused => "refused",
            SkipReason::NotLeader => "not_leader",
        }
    }
}

/// That something is not known, and why.
///
/// ```
/// use db_monitoring::server::{SkipReason, Skipped};
///
/// let skipped = Skipped::new(SkipReason::Missing, "pg_stat_io is not on this server");
/// assert_eq!(skipped.to_string(), "skipped (missing): pg_stat_io is not on this server");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Why, in one word.
    pub reason: SkipReason,
    /// Why, for the person who reads it. Never a password or a value.
    pub detail: String,
}

impl Skipped {
    /// Not known, for this reason.
    pub fn new(reason: SkipReason, detail: impl Into<String>) -> Self {
        Skipped { reason, detail: detail.into() }
    }

    /// What was not asked for yet.
    pub fn too_soon() -> Self {
        Skipped::new(SkipReason::TooSoon, "not collected yet")
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped ({}): {}", self.reason.as_str(), self.detail)
    }
}

impl std::error::Error for Skipped {}

impl From<Error> for Skipped {
    fn from(error: Error) -> Self {
        Skipped::new(reason_of(&error), error.to_string())
    }
}

fn reason_of(error: &Error) -> SkipReason {
    if matches!(error, Error::Connect(_) | Error::ConnectionLost { .. }) {
        return SkipReason::Unreachable;
    }
    match error.sqlstate() {
        Some(SqlState::LOCK_NOT_AVAILABLE) => SkipReason::Locked,
        Some(SqlState::QUERY_CANCELED) => SkipReason::TimedOut,
        Some(SqlState::INSUFFICIENT_PRIVILEGE) => SkipReason::NoPermission,
        Some(code) if matches!(code.as_str(), "42703" | "42P01" | "42883" | "3F000") => SkipReason::Missing,
        _ if error.class() == Class::Unavailable => SkipReason::Unreachable,
        _ => SkipReason::Refused,
    }
}
