//! What statements cost lately: over the last minute and the last hour, from totals that are noted every few
//! seconds.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Totals are noted so often.
pub(crate) const BETWEEN_NOTES: Duration = Duration::from_secs(5);
/// An hour of them, and one more to compare with.
const MOST_NOTES: usize = 3_600 / 5 + 1;
const MINUTE: Duration = Duration::from_secs(60);

/// What statements cost within a span of time.
///
/// ```
/// use db_monitoring::{Monitor, MonitoringConfig};
///
/// let recent = Monitor::new(MonitoringConfig::default()).recent();
/// assert_eq!((recent.minute.statements, recent.minute.mean()), (0, None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// How long it is: shorter than its name says at first.
    pub over: Duration,
    /// Statements that ended.
    pub statements: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many of them were slow.
    pub slow: u64,
    /// How long they took, added up.
    pub busy: Duration,
}

/// What statements cost lately.
///
/// ```
/// use db_monitoring::Recent;
///
/// assert_eq!(Recent::default().hour.slow, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Recent {
    /// In the last minute.
    pub minute: Span,
    /// In the last hour.
    pub hour: Span,
}

impl Span {
    /// How long a statement took on average; none where there was none.
    pub fn mean(&self) -> Option<Duration> {
        (self.statements > 0).then(|| self.busy.div_f64(self.statements as f64))
    }

    /// Statements a second.
    pub fn per_second(&self) -> f64 {
        let over = self.over.as_secs_f64();
        if over > 0.0 { self.statements as f64 / over } else { 0.0 }
    }

    /// The share of statements that failed, from 0 to 1; none where there was none.
    pub fn error_rate(&self) -> Option<f64> {
        (self.statements > 0).then(|| self.failed as f64 / self.statements as f64)
    }
}

/// Totals at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) statements: u64,
    pub(crate) failed: u64,
    pub(crate) slow: u64,
    pub(crate) busy: Duration,
}

/// Totals of the last hour.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    notes: Mutex<VecDeque<(Instant, Totals)>>,
}

impl Notes {
    /// Notes totals, unless that was done a moment ago.
    pub(crate) fn note(&self, now: Instant, totals: impl FnOnce() -> Totals) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < BETWEEN_NOTES) {
            return;
        }
        notes.push_back((now, totals()));
        while notes.len() > MOST_NOTES {
            notes.pop_front();
        }
    }

    /// What was noted within a minute and an hour before the last note.
    pub(crate) fn recent(&self) -> Recent {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(&(last, totals)) = notes.back() else { return Recent::default() };
        let since = |long: Duration| {
            let is_within = |(at, _): &&(Instant, Totals)| last.saturating_duration_since(*at) <= long;
            let (first, before) = notes.iter().find(is_within).copied().unwrap_or((last, totals));
            Span {
                over: last.saturating_duration_since(first),
                statements: totals.statements.saturating_sub(before.statements),
                failed: totals.failed.saturating_sub(before.failed),
                slow: totals.slow.saturating_sub(before.slow),
                busy: totals.busy.saturating_sub(before.busy),
            }
        };
        Recent { minute: since(MINUTE), hour: since(60 * MINUTE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_and_an_hour_are_told_apart_and_nothing_grows() {
        let (notes, start) = (Notes::default(), Instant::now());
        for second in 0..7_200 {
            let totals = Totals {
                statements: second * 10,
                failed: second,
                slow: 1,
                busy: Duration::from_secs(second),
            };
            notes.note(start + Duration::from_secs(second), || totals);
        }
        let Recent { minute, hour } = notes.recent();
        assert_eq!((minute.over, minute.statements, minute.failed, minute.slow), (MINUTE, 600, 60, 0));
        assert_eq!((minute.per_second(), minute.mean()), (10.0, Some(Duration::from_millis(100))));
        assert_eq!((hour.over, hour.error_rate()), (60 * MINUTE, Some(0.1)));
        assert_eq!(notes.notes.lock().unwrap().len(), MOST_NOTES);
    }
}
