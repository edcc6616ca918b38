//! Decides which failures are worth another attempt: their class, or a condition of the caller's own.

use std::fmt;

use db_core::{Class, foreign};

/// Decides which failures are worth another attempt.
pub trait Condition<E>: Send + Sync {
    /// What the failure means for whoever tries again, where its class means `class`.
    ///
    /// Conflicts, unavailability and overload are tried again; permanent failures are not. Not asked about a
    /// COMMIT whose outcome is unknown: that is never run again.
    fn judge(&self, error: &E, class: Class) -> Class;
}

/// The failure's class decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ByClass;

impl<E> Condition<E> for ByClass {
    fn judge(&self, _error: &E, class: Class) -> Class {
        class
    }
}

/// A condition of the caller's own decides. One that panics is no reason to try again: the caller gets the
/// failure that it was asked about.
///
/// ```
/// use db_core::{Class, Error};
/// use db_retry::{Condition, If};
///
/// let condition = If(|error: &Error| matches!(error, Error::NotFound));
/// assert_eq!(condition.judge(&Error::NotFound, Class::Permanent), Class::Overloaded);
/// ```
#[derive(Clone, Copy)]
pub struct If<F>(pub F);

impl<F> fmt::Debug for If<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("If(..)")
    }
}

impl<E, F: Fn(&E) -> bool + Send + Sync> Condition<E> for If<F> {
    fn judge(&self, error: &E, class: Class) -> Class {
        let Some(wanted) = foreign::call(|| self.0(error)) else {
            tracing::error!("the condition of retry_if panicked: there is no other attempt");
            return Class::Permanent;
        };
        match (wanted, class) {
            (false, _) => Class::Permanent,
            // Why it failed is not known, so it is tried again later rather than sooner.
            (true, Class::Permanent) => Class::Overloaded,
            (true, class) => class,
        }
    }
}
