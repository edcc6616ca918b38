//! A threshold of a check: one place for the decision and for the page that describes it.

use db_core::CheckStatus;
use serde::Serialize;

/// Where a check begins to warn, and where someone must look now.
///
/// ```
/// use db_core::CheckStatus;
/// use db_monitoring::checks::Bound;
///
/// const WAIT: Bound = Bound { of: "the longest wait", warn: 5.0, critical: 30.0, unit: "s" };
/// assert_eq!(WAIT.verdict(12.0), CheckStatus::Warn);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    /// What is measured.
    pub of: &'static str,
    /// More than this is worth a warning.
    pub warn: f64,
    /// More than this is critical; infinite where it never is.
    pub critical: f64,
    /// The unit of both, as UCUM writes it.
    pub unit: &'static str,
}

impl Bound {
    /// What follows from this value.
    pub fn verdict(&self, value: f64) -> CheckStatus {
        if value > self.critical {
            CheckStatus::Critical
        } else if value > self.warn {
            CheckStatus::Warn
        } else {
            CheckStatus::Ok
        }
    }

    /// The verdict, if there is something to say.
    pub(crate) fn exceeded(&self, value: f64) -> Option<CheckStatus> {
        Some(self.verdict(value)).filter(CheckStatus::is_problem)
    }
}

/// Stands for "never" in a bound.
pub(crate) const NEVER: f64 = f64::INFINITY;
