//! What is found by looking at a server now and then: statements that are run another way, and the latest
//! advice.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use db_core::{Error, Measure, MeasureKind};
use db_statement::fingerprint;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::history::{Flip, PlanHistory, Window};
use crate::indexes::{Advice, AdviceConfig, AdviceError, StatementCounts, advise, counts_of_server};
use crate::{ExplainConfig, explain_text};

/// How many statements are looked at.
const MOST_STATEMENTS: u32 = 50;

/// How many flips are kept.
const MOST_FLIPS: usize = 100;

/// The longest that one EXPLAIN may take: planning alone takes that long where something is wrong.
const LONGEST_LOOK: &str = "SET statement_timeout = '5s'; SET lock_timeout = '100ms'";

/// What was found by looking at one server. Cheap to clone: all clones are one.
///
/// It holds no value of a statement: plans are kept without constants, and advice keeps no text.
///
/// ```no_run
/// # use db_insight::indexes::AdviceError;
/// # async fn run(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), AdviceError> {
/// let insights = db_insight::Insights::default();
/// insights.look_at_plans(conn).await?;
/// for flip in insights.flips().iter().filter(|flip| flip.is_regression()) {
///     println!("{}", flip.side_by_side(60));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Insights {
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    history: Mutex<PlanHistory>,
    /// What the counters said at the last look, by the server's id of the statement.
    counted: Mutex<HashMap<String, StatementCounts>>,
    flips: Mutex<VecDeque<Flip>>,
    advice: Mutex<Option<(SystemTime, Arc<Advice>)>>,
}

impl Insights {
    /// Asks for the plans of the dearest statements, and takes them into the history; how many were taken in.
    ///
    /// A statement is looked at once an hour at most, however often this is called. Nothing is run but
    /// EXPLAIN.
    ///
    /// # Errors
    ///
    /// [`AdviceError`] where the database does not answer. A statement that the server does not plan is
    /// passed over.
    pub async fn look_at_plans(&self, conn: &mut AsyncPgConnection) -> Result<usize, AdviceError> {
        conn.batch_execute(LONGEST_LOOK).await.map_err(Error::from)?;
        let Some(statements) = counts_of_server(conn, MOST_STATEMENTS).await? else { return Ok(0) };
        let mut taken = 0;
        for (query, now) in statements {
            let id = query.id.to_string();
            let statement = fingerprint(&query.sql);
            let at = SystemTime::now();
            if !lock(&self.kept.history).is_due(statement, at) {
                continue;
            }
            let before = lock(&self.kept.counted).insert(id, now).unwrap_or_default();
            let window = window(before, now);
            if window.calls == 0 {
                continue;
            }
            let Ok(plan) = explain_text(conn, &query.sql, &ExplainConfig::default()).await else { continue };
            let flip = lock(&self.kept.history).record(statement, &plan, window, at);
            taken += 1;
            if let Some(flip) = flip {
                self.tell(flip);
            }
        }
        Ok(taken)
    }

    /// Asks which indexes would help the dearest statements, and which help nobody;
    /// [`advice`](Insights::advice) has the answer. Nothing is run but EXPLAIN.
    ///
    /// # Errors
    ///
    /// [`AdviceError`] where the database does not answer.
    pub async fn look_at_indexes(&self, conn: &mut AsyncPgConnection) -> Result<(), AdviceError> {
        conn.batch_execute(LONGEST_LOOK).await.map_err(Error::from)?;
        let Some(statements) = counts_of_server(conn, MOST_STATEMENTS).await? else { return Ok(()) };
        let workload: Vec<_> = statements.into_iter().map(|(query, _)| query).collect();
        let advice = advise(conn, &workload, &AdviceConfig::default()).await?;
        if !(advice.suggestions.is_empty() && advice.drops.is_empty()) {
            tracing::info!(
                make = advice.suggestions.len(),
                drop = advice.drops.len(),
                "indexes could be made or dropped: `dbctl advise indexes` says which"
            );
        }
        *lock(&self.kept.advice) = Some((SystemTime::now(), Arc::new(advice)));
        Ok(())
    }

    /// The statements that are run another way and take another time, the oldest first.
    pub fn flips(&self) -> Vec<Flip> {
        lock(&self.kept.flips).iter().cloned().collect()
    }

    /// The latest advice, and when it was given; none before.
    pub fn advice(&self) -> Option<(SystemTime, Arc<Advice>)> {
        lock(&self.kept.advice).clone()
    }

    /// The plans so far: to be stored, or shown.
    pub fn history(&self) -> PlanHistory {
        lock(&self.kept.history).clone()
    }

    /// What a part reports.
    pub fn measures(&self) -> Vec<Measure> {
        let slower = self.flips().iter().filter(|flip| flip.is_regression()).count();
        let advised = self.advice().map_or(0, |(_, advice)| advice.suggestions.len());
        vec![
            Measure::new("db.insight.plan_regressions", MeasureKind::Gauge, "{statement}", slower as f64),
            Measure::new("db.insight.advised_indexes", MeasureKind::Gauge, "{index}", advised as f64),
        ]
    }

    fn tell(&self, flip: Flip) {
        if flip.is_regression() {
            tracing::warn!(
                statement = flip.statement,
                before_ms = flip.before_ms,
                after_ms = flip.after_ms,
                "a statement is run another way and got slower:\n{}",
                flip.side_by_side(70)
            );
        }
        let mut flips = lock(&self.kept.flips);
        if flips.len() >= MOST_FLIPS {
            flips.pop_front();
        }
        flips.push_back(flip);
    }
}

impl fmt::Debug for Insights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Insights").field("flips", &lock(&self.kept.flips).len()).finish_non_exhaustive()
    }
}

/// What ran between two looks; all of it where the counters were reset meanwhile.
fn window(before: StatementCounts, now: StatementCounts) -> Window {
    let before =
        if now.calls < before.calls || now.ms < before.ms { StatementCounts::default() } else { before };
    let calls = now.calls - before.calls;
    Window {
        calls,
        mean_ms: (now.ms - before.ms) / calls.max(1) as f64,
        rows: now.rows.saturating_sub(before.rows),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_were_reset_begin_anew() {
        let counts = |calls, ms, rows| StatementCounts { calls, ms, rows };
        let later = window(counts(10, 100.0, 10), counts(30, 140.0, 50));
        assert_eq!((later.calls, later.mean_ms, later.rows), (20, 2.0, 40));
        let reset = window(counts(10, 100.0, 10), counts(4, 8.0, 4));
        assert_eq!((reset.calls, reset.mean_ms, reset.rows), (4, 2.0, 4));
        assert_eq!(window(counts(4, 8.0, 4), counts(4, 8.0, 4)).calls, 0);
    }
}
