//! Why the second tier did not do what it was asked to.

use std::fmt;

/// What kind of failure it was: a tier that is full or read-only still answers, and is not down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TierFailure {
    /// Nobody answered, or the connection was lost: it may or may not have happened.
    Unreachable,
    /// No answer came in time: it may or may not have happened.
    TimedOut,
    /// It has no room and evicts nothing.
    Full,
    /// It takes no writes: a replica answered, or its disk is in trouble.
    ReadOnly,
    /// It answers, but not yet: it loads its data, or a script keeps it busy.
    NotReady,
    /// It answered something else than it was asked for.
    Refused,
}

/// A failure of the second tier. No read fails by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cache's second tier {failure}: {what}")]
pub struct TierError {
    /// What kind.
    pub failure: TierFailure,
    /// What the tier said. It shows no password.
    pub what: String,
}

impl TierError {
    /// A failure.
    pub fn new(failure: TierFailure, what: impl Into<String>) -> Self {
        TierError { failure, what: what.into() }
    }
}

impl TierFailure {
    /// Whether it speaks against the server itself, so that a breaker counts it.
    pub fn is_outage(self) -> bool {
        matches!(self, TierFailure::Unreachable | TierFailure::TimedOut | TierFailure::NotReady)
    }

    /// The failure as a metric label: lower case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            TierFailure::Unreachable => "unreachable",
            TierFailure::TimedOut => "timed_out",
            TierFailure::Full => "full",
            TierFailure::ReadOnly => "read_only",
            TierFailure::NotReady => "not_ready",
            TierFailure::Refused => "refused",
        }
    }
}

impl fmt::Display for TierFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TierFailure::Unreachable => "cannot be reached",
            TierFailure::TimedOut => "did not answer in time",
            TierFailure::Full => "is full",
            TierFailure::ReadOnly => "takes no writes",
            TierFailure::NotReady => "is not ready",
            TierFailure::Refused => "refused",
        })
    }
}
