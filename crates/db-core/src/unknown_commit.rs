//! A COMMIT whose outcome nobody knows, and what is known of it.

use std::fmt;

use crate::Error;

/// A COMMIT whose answer was lost, and what is known of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnknownCommit {
    /// How its answer was lost.
    pub cause: Error,
    /// The transaction's id on the server that ran it (`pg_current_xact_id()`), where it was known before
    /// COMMIT was sent: what an operator may look for.
    pub transaction: Option<u64>,
    /// Why the outcome could not be found out.
    pub unresolved: String,
}

impl UnknownCommit {
    /// A COMMIT whose answer was lost by `cause`, and which could not be resolved because of `unresolved`.
    pub fn new(cause: Error, transaction: Option<u64>, unresolved: impl Into<String>) -> Self {
        UnknownCommit { cause, transaction, unresolved: unresolved.into() }
    }
}

impl std::error::Error for UnknownCommit {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

impl fmt::Display for UnknownCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("commit outcome unknown: COMMIT was sent")?;
        if let Some(transaction) = self.transaction {
            write!(f, " for transaction {transaction}")?;
        }
        write!(f, " and its answer was lost, and {}", self.unresolved)
    }
}
