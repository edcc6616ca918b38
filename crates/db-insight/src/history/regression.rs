//! Finds statements that take longer a call than in the week before, whatever their plan.
//!
//! The last day is held against the seven days before it, so that a busy hour and a quiet night are in
//! both. A statement that returns more rows and takes more time in step with them is none.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::stored::{Seen, Window};
use super::{MS, PlanHistory, is_in_step};

/// What counts as now.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What it is held against: the time before that day.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many executions each of them must have: fewer have no mean worth a word.
const FEWEST_CALLS: u64 = 20;
/// How many times slower.
const TIMES: f64 = 1.5;

/// A statement that takes longer a call than in the week before.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Regression {
    /// The statement's fingerprint.
    pub statement: String,
    /// What its executions cost in the seven days before the last one.
    pub before: Window,
    /// What they cost in the last 24 hours.
    pub now: Window,
    /// Whether it was run another way in that time: then [`Flip`](super::Flip) may say more.
    pub other_plan: bool,
}

impl Regression {
    /// How many milliseconds more all executions of the last day took.
    #[must_use]
    pub fn added_ms(&self) -> f64 {
        (self.now.mean_ms - self.before.mean_ms) * self.now.calls as f64
    }
}

impl PlanHistory {
    /// The statements that took longer a call in the last day than in the week before it, the costliest
    /// first.
    ///
    /// It takes a day and an hour of history: before that it says nothing.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use db_insight::{Plan, PlanHistory, Window};
    /// use db_statement::fingerprint;
    ///
    /// let plan: Plan = r#"{"Plan": {"Node Type": "Seq Scan", "Alias": "orders", "Plan Rows": 3}}"#.parse()?;
    /// let statement = fingerprint("select * from orders where note = $1");
    /// let (start, mut history) = (SystemTime::UNIX_EPOCH, PlanHistory::default());
    /// for hour in 0..72 {
    ///     let mean_ms = if hour < 48 { 2.0 } else { 9.0 };
    ///     let window = Window { calls: 10, mean_ms, rows: 30 };
    ///     history.record(statement, &plan, window, start + Duration::from_secs(3600 * hour));
    /// }
    /// let now = start + Duration::from_secs(3600 * 72);
    /// let found = &history.regressions(now)[0];
    /// assert_eq!((found.before.mean_ms, found.now.mean_ms), (2.0, 9.0));
    /// # Ok::<(), db_insight::NotAPlan>(())
    /// ```
    #[must_use]
    pub fn regressions(&self, now: SystemTime) -> Vec<Regression> {
        let day = now.checked_sub(DAY).unwrap_or(SystemTime::UNIX_EPOCH);
        let week = day.checked_sub(WEEK).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut found: Vec<Regression> = self
            .statements
            .iter()
            .filter_map(|(statement, known)| {
                let (old, new): (Vec<&Seen>, Vec<&Seen>) = known
                    .seen
                    .iter()
                    .filter(|seen| seen.at >= week && seen.at <= now)
                    .partition(|seen| seen.at < day);
                let (before, of_now) = (sum(&old)?, sum(&new)?);
                let is_slower =
                    of_now.mean_ms >= TIMES * before.mean_ms && of_now.mean_ms - before.mean_ms >= MS;
                let more_rows = (of_now.rows_a_call() + 1.0) / (before.rows_a_call() + 1.0);
                if !is_slower || is_in_step(more_rows, of_now.mean_ms / before.mean_ms.max(f64::MIN_POSITIVE))
                {
                    return None;
                }
                let other_plan = new.iter().any(|seen| old.iter().all(|then| then.shape != seen.shape));
                Some(Regression { statement: statement.clone(), before, now: of_now, other_plan })
            })
            .collect();
        found.sort_by(|a, b| b.added_ms().total_cmp(&a.added_ms()));
        found
    }
}

/// What all these executions cost together; none where they are too few.
fn sum(looks: &[&Seen]) -> Option<Window> {
    let calls: u64 = looks.iter().fold(0, |calls, seen| calls.saturating_add(seen.window.calls));
    let ms: f64 = looks.iter().map(|seen| seen.window.mean_ms * seen.window.calls as f64).sum();
    let rows = looks.iter().fold(0_u64, |rows, seen| rows.saturating_add(seen.window.rows));
    (calls >= FEWEST_CALLS).then(|| Window { calls, mean_ms: ms / calls as f64, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use db_statement::fingerprint;

    /// Looks once an hour for so many hours; the executions of an hour are as `window` says.
    fn looked(hours: u64, window: impl Fn(u64) -> Window) -> Vec<Regression> {
        let plan: Plan =
            r#"{"Plan": {"Node Type": "Seq Scan", "Alias": "t", "Plan Rows": 3}}"#.parse().unwrap();
        let (statement, mut history) = (fingerprint("select * from t where a = $1"), PlanHistory::default());
        let at = |hour: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hour);
        for hour in 0..hours {
            history.record(statement, &plan, window(hour), at(hour));
        }
        history.regressions(at(hours))
    }

    fn of(mean_ms: f64) -> Window {
        Window { calls: 10, mean_ms, rows: 10 }
    }

    #[test]
    fn a_statement_that_took_a_third_as_long_last_week_is_a_regression() {
        let found = looked(24 * 9, |hour| of(if hour < 24 * 8 { 3.0 } else { 9.0 }));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].before.calls, found[0].now.calls), (7 * 24 * 10, 240));
        assert_eq!((found[0].added_ms(), found[0].other_plan), (6.0 * 240.0, false));
    }

    #[test]
    fn busy_hours_few_calls_more_rows_and_what_is_long_ago_are_none() {
        let none = Vec::new();
        // Each day has a slow hour.
        assert_eq!(looked(24 * 9, |hour| of(if hour % 24 == 9 { 90.0 } else { 3.0 })), none);
        // It got slower before the week that is compared.
        assert_eq!(looked(24 * 13, |hour| of(if hour < 24 * 4 { 3.0 } else { 9.0 })), none);
        // There is no week before.
        assert_eq!(looked(20, |_| of(9.0)), none);
        let few = |hour| Window { calls: u64::from(hour % 24 == 0), mean_ms: 1.0 + hour as f64, rows: 1 };
        assert_eq!(looked(24 * 9, few), none);
        let more_rows = |hour: u64| {
            let times = if hour < 24 * 8 { 1 } else { 3 };
            Window { calls: 10, mean_ms: 3.0 * times as f64, rows: 1000 * times }
        };
        assert_eq!(looked(24 * 9, more_rows), none);
        // A tenth of a millisecond is nobody's matter.
        assert_eq!(looked(24 * 9, |hour| of(if hour < 24 * 8 { 0.03 } else { 0.3 })), none);
    }
}
