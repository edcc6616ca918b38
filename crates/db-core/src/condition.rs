//! Whether something works, as a health check says it.

use std::fmt;

/// The verdict of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// Everything works.
    Up,
    /// It works, but not as intended: something that can be done without is missing.
    Degraded,
    /// It does not work.
    Down,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::Up => "up",
            Condition::Degraded => "degraded",
            Condition::Down => "down",
        })
    }
}

/// How one part of the platform is: a cache, a collector.
///
/// ```
/// use db_core::{Condition, PartHealth};
///
/// let health = PartHealth::new(Condition::Degraded, "redis does not answer: values are kept in process only");
/// assert_eq!(health.to_string(), "degraded: redis does not answer: values are kept in process only");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHealth {
    /// The verdict.
    pub condition: Condition,
    /// What there is to say about it, for the person who reads it. Never a password.
    pub detail: String,
}

impl PartHealth {
    /// A verdict, and why.
    pub fn new(condition: Condition, detail: impl Into<String>) -> Self {
        PartHealth { condition, detail: detail.into() }
    }

    /// All is well.
    pub fn up() -> Self {
        PartHealth::new(Condition::Up, "")
    }
}

impl fmt::Display for PartHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => self.condition.fmt(f),
            detail => write!(f, "{}: {detail}", self.condition),
        }
    }
}
