//! Why a read has no value: the load failed. The tiers never make a read fail.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use db_core::{Class, Classify, SqlState};

/// Why a read has no value. Callers that waited for one load share its error.
#[derive(Debug, thiserror::Error)]
pub enum CacheError<E> {
    /// The load failed, and there was nothing that could be served instead.
    #[error("the value could not be loaded")]
    Load(#[source] Shared<E>),
    /// The load took longer than the policy's `hard_timeout`.
    #[error("the load was given up after {0:?}; the policy's hard_timeout sets that")]
    TimedOut(Duration),
    /// No load of the keyspace ended in time to make room for this one.
    #[error("no load of the keyspace made room within {0:?}; the policy's max_loads sets how many may run")]
    Overloaded(Duration),
    /// The load panicked, or the runtime shut down.
    #[error("the load ended without an answer")]
    Ended,
}

/// An error that several callers have.
#[derive(Debug)]
pub struct Shared<E>(pub Arc<E>);

impl<E: fmt::Display> fmt::Display for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error> std::error::Error for Shared<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl<E> Clone for CacheError<E> {
    fn clone(&self) -> Self {
        match self {
            CacheError::Load(shared) => CacheError::Load(Shared(Arc::clone(&shared.0))),
            CacheError::TimedOut(after) => CacheError::TimedOut(*after),
            CacheError::Overloaded(after) => CacheError::Overloaded(*after),
            CacheError::Ended => CacheError::Ended,
        }
    }
}

impl<E: Classify> Classify for CacheError<E> {
    fn class(&self) -> Class {
        match self {
            CacheError::Load(shared) => shared.0.class(),
            CacheError::TimedOut(_) | CacheError::Overloaded(_) => Class::Overloaded,
            CacheError::Ended => Class::Permanent,
        }
    }

    fn code(&self) -> Option<SqlState> {
        match self {
            CacheError::Load(shared) => shared.0.code(),
            _ => None,
        }
    }
}
