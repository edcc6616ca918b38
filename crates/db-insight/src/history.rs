//! Plans over time: a finding when a statement is run another way *and* takes another time.

mod regression;
mod stored;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use db_statement::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, Shape};
pub use regression::Regression;
use stored::Statement;
pub use stored::{Flip, Seen, StoredPlan, Window};

/// How often a statement's plan is looked at, at most.
pub const EVERY: Duration = Duration::from_secs(3600);
/// How many times slower or faster.
const TIMES: f64 = 2.0;
/// And by how many milliseconds.
const MS: f64 = 1.0;
/// How many looks after a change of the plan are judged: executions before it are in the first one's time.
const LOOKS: usize = 3;
/// How many statements are kept.
const MOST_STATEMENTS: usize = 2_000;

/// The plans of statements over time.
///
/// A change of the plan alone is no finding, nor is a change of the time alone. Nor is a plan that depends on
/// the parameter: it brings other numbers of rows, or comes back to a way that the statement was run before,
/// as fast as then. An index that is renamed and a partition that is new change no plan's [`Shape`].
///
/// What is kept holds no constant of a statement; it can be stored as JSON by serde.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use db_insight::{Plan, PlanHistory, Window};
/// use db_statement::fingerprint;
///
/// let plan = |scan: &str| -> Result<Plan, db_insight::NotAPlan> {
///     format!(r#"{{"Plan": {{"Node Type": "{scan}", "Alias": "orders", "Plan Rows": 3}}}}"#).parse()
/// };
/// let statement = fingerprint("select * from orders where customer_id = $1");
/// let window = |mean_ms: f64| Window { calls: 100, mean_ms, rows: 300 };
/// let start = SystemTime::UNIX_EPOCH;
/// let later = start + Duration::from_secs(3600);
///
/// let mut history = PlanHistory::default();
/// assert!(history.record(statement, &plan("Index Scan")?, window(0.1), start).is_none());
/// let flip = history.record(statement, &plan("Seq Scan")?, window(40.0), later).unwrap();
/// assert_eq!((flip.before_ms, flip.after_ms), (0.1, 40.0));
/// # Ok::<(), db_insight::NotAPlan>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanHistory {
    statements: BTreeMap<String, Statement>,
}

impl PlanHistory {
    /// Whether the statement's plan may be looked at again: at most once an hour.
    #[must_use]
    pub fn is_due(&self, statement: Fingerprint, now: SystemTime) -> bool {
        let last = self.statements.get(&statement.to_string()).and_then(|known| known.seen.last());
        last.is_none_or(|last| now.duration_since(last.at).is_ok_and(|since| since >= EVERY))
    }

    /// Takes in the statement's plan and what its executions cost since it was last looked at; says if it
    /// flipped.
    ///
    /// Nothing is taken in before it is due, nor from a window without executions.
    pub fn record(
        &mut self,
        statement: Fingerprint,
        plan: &Plan,
        window: Window,
        now: SystemTime,
    ) -> Option<Flip> {
        if !self.is_due(statement, now) || window.calls == 0 {
            return None;
        }
        let key = statement.to_string();
        if self.statements.len() >= MOST_STATEMENTS && !self.statements.contains_key(&key) {
            self.forget_oldest();
        }
        let known = self.statements.entry(key).or_default();
        let shape = plan.shape();
        let flip = flipped(known, shape, window).map(|before| Flip {
            statement: statement.to_string(),
            before: known.plan(before.shape),
            after: StoredPlan::of(plan),
            before_ms: before.window.mean_ms,
            after_ms: window.mean_ms,
        });
        known.keep(plan, Seen { at: now, shape: shape.value(), window });
        if flip.is_some() {
            known.told = Some(shape.value());
        }
        flip
    }

    /// What was seen of a statement, the oldest first.
    #[must_use]
    pub fn seen(&self, statement: Fingerprint) -> &[Seen] {
        self.statements.get(&statement.to_string()).map_or(&[], |known| known.seen.as_slice())
    }

    /// What is kept of a statement, as JSON.
    #[cfg(feature = "diesel")]
    pub(crate) fn kept(&self, statement: &str) -> Option<String> {
        serde_json::to_string(self.statements.get(statement)?).ok()
    }

    /// Takes in what was kept of a statement, if it goes further than what is known; false if it does
    /// not, or is not understood.
    #[cfg(feature = "diesel")]
    pub(crate) fn take_in(&mut self, statement: String, kept: &str) -> bool {
        let Ok(kept) = serde_json::from_str::<Statement>(kept) else { return false };
        let last = |one: &Statement| one.seen.last().map(|seen| seen.at);
        if self.statements.get(&statement).is_some_and(|known| last(known) >= last(&kept)) {
            return false;
        }
        if self.statements.len() >= MOST_STATEMENTS && !self.statements.contains_key(&statement) {
            self.forget_oldest();
        }
        self.statements.insert(statement, kept);
        true
    }

    fn forget_oldest(&mut self) {
        let at = |known: &Statement| known.seen.last().map_or(SystemTime::UNIX_EPOCH, |seen| seen.at);
        let oldest = self.statements.iter().min_by_key(|(_, known)| at(known)).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.statements.remove(&oldest);
        }
    }
}

/// What the statement did before, if it is run another way now and takes another time for the same work.
fn flipped(known: &Statement, shape: Shape, now: Window) -> Option<Seen> {
    if known.told == Some(shape.value()) {
        return None;
    }
    let looks = known.before(shape.value());
    let last = *looks.last()?;
    if known.seen.len() - looks.len() >= LOOKS {
        return None;
    }
    // The same way as at another time, and as fast as then: it depends on the parameter.
    let then = Statement::typical(looks, shape.value());
    if then.is_some_and(|then| !is_other_time(then, now.mean_ms)) {
        return None;
    }
    let before = Statement::typical(looks, last.shape).unwrap_or(last.window.mean_ms);
    if !is_other_time(before, now.mean_ms) {
        return None;
    }
    // Other parameters bring other numbers of rows, and these take their time.
    let (rows_before, rows_now) = (last.window.rows_a_call(), now.rows_a_call());
    let more_rows = (rows_now + 1.0) / (rows_before + 1.0);
    let more_time = now.mean_ms / before.max(f64::MIN_POSITIVE);
    if is_in_step(more_rows, more_time) {
        return None;
    }
    Some(Seen { window: Window { mean_ms: before, ..last.window }, ..last })
}

fn is_other_time(before: f64, now: f64) -> bool {
    let (less, more) = if before < now { (before, now) } else { (now, before) };
    more >= TIMES * less && more - less >= MS
}

/// Whether rows and time grew, or shrank, together.
fn is_in_step(rows: f64, time: f64) -> bool {
    (rows >= TIMES && time > 1.0) || (rows <= 1.0 / TIMES && time < 1.0)
}
