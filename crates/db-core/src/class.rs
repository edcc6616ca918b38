//! What a failure means for the caller: retry it, wait, look elsewhere, or give up.
//!
//! Retry, circuit breaker, routing, HTTP mapping and metric labels read the class and nothing else, so that a
//! new error variant cannot be forgotten in one of them. The case people get wrong is [`Class::Unknown`]: it
//! is not a kind of `Unavailable`, because running the work again could apply it twice.

use std::fmt;

use crate::SqlState;

/// What a failure means for whoever decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Another transaction was in the way: the whole transaction may run again at once.
    Conflict,
    /// The server or the connection is gone, and nothing was committed: another connection may serve.
    Unavailable,
    /// There is too much to do: again, within the deadline and the retry budget, and later rather than
    /// sooner.
    Overloaded,
    /// A COMMIT whose outcome nobody saw. Never run again blindly.
    Unknown,
    /// It will fail in the same way however often it is tried.
    Permanent,
}

impl Class {
    /// All classes, in the order in which reports list them.
    pub const ALL: [Class; 5] =
        [Class::Conflict, Class::Unavailable, Class::Overloaded, Class::Unknown, Class::Permanent];

    /// The class as a metric label: lower case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Conflict => "conflict",
            Class::Unavailable => "unavailable",
            Class::Overloaded => "overloaded",
            Class::Unknown => "unknown",
            Class::Permanent => "permanent",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that can say what it means for whoever decides what to do next.
///
/// A service implements it for its own error type, most often by asking the [`Error`](crate::Error) inside.
pub trait Classify {
    /// The class of this failure.
    fn class(&self) -> Class;

    /// The server's code for it, where it is known. [`Error`](crate::Error) knows; a service's own type need
    /// not.
    ///
    /// A retry looks at it for what the class does not tell: a lock that was not to be had, a statement that
    /// somebody cancelled.
    fn code(&self) -> Option<SqlState> {
        None
    }
}

impl<T: Classify + ?Sized> Classify for &T {
    fn class(&self) -> Class {
        (**self).class()
    }

    fn code(&self) -> Option<SqlState> {
        (**self).code()
    }
}

impl<T: Classify + ?Sized> Classify for Box<T> {
    fn class(&self) -> Class {
        (**self).class()
    }

    fn code(&self) -> Option<SqlState> {
        (**self).code()
    }
}
