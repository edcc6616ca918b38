//! Decides which failures are worth another attempt: their class, or a condition of the caller's own.

use db_core::Class;

/// Decides which failures are worth another attempt.
pub trait Condition<E>: Send + Sync {
    /// What the failure means for whoever tries again, where its class means `class`.
    ///
    /// Conflicts, unavailability and overload are tried again; permanent failures are not. Not asked about a COMMIT
    /// whose outcome is unknown: that is never run again.
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

/// A condition of the caller's own decides; made by [`Retry::retry_if`](crate::Retry::retry_if).
#[derive(Debug, Clone, Copy)]
pub struct If<F>(pub(crate) F);

impl<E, F: Fn(&E) -> bool + Send + Sync> Condition<E> for If<F> {
    fn judge(&self, error: &E, class: Class) -> Class {
        match (self.0(error), class) {
            (false, _) => Class::Permanent,
            // Why it failed is not known, so it is tried again later rather than sooner.
            (true, Class::Permanent) => Class::Overloaded,
            (true, class) => class,
        }
    }
}
