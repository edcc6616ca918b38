//! What is found by looking at a server now and then: plans with tips, statements that are run another way or
//! got slower, repeated statements, and the latest advice.

mod statement;
mod store;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use db_core::{Error, Measure, MeasureKind};
use db_statement::{Fingerprint, fingerprint, normalize};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::history::{Flip, PlanHistory, Regression, Window};
use crate::indexes::{Advice, AdviceConfig, AdviceError, StatementCounts, advise, counts_of_server};
use crate::repeats::{Finding, RepeatsWatch};
use crate::{ExplainConfig, explain_with_tips};
pub use statement::ExplainedStatement;

/// How many statements are looked at.
const MOST_STATEMENTS: u32 = 50;

/// How many flips, and how many statements with their plans, are kept.
const MOST_FLIPS: usize = 100;
const MOST_EXPLAINED: usize = 200;

/// How many of the server's ids are remembered; then counting begins anew.
const MOST_COUNTED: usize = 5_000;

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
    explained: Mutex<HashMap<Fingerprint, ExplainedStatement>>,
    /// The statements of the history that are not stored yet, and until when it was read, in seconds
    /// since 1970.
    changed: Mutex<BTreeSet<String>>,
    read_until: Mutex<f64>,
    flips: Mutex<VecDeque<Flip>>,
    /// How many statements were slower than last week when it was last looked: whoever exports asks often.
    slower: AtomicUsize,
    advice: Mutex<Option<(SystemTime, Arc<Advice>)>>,
    repeats: OnceLock<RepeatsWatch>,
}

/// One statement of the service, which the server may count as several.
struct Counted {
    sql: String,
    /// The server's ids, with what it has counted of each.
    ids: Vec<(String, StatementCounts)>,
}

impl Insights {
    /// Asks for the plans of the dearest statements, and takes them into the history; how many were taken in.
    ///
    /// A statement is looked at once an hour at most, however often this is called. Nothing is run but
    /// EXPLAIN. Without `pg_stat_statements` nothing is looked at.
    ///
    /// # Errors
    ///
    /// [`AdviceError`] where the database does not answer. A statement that the server does not plan is
    /// passed over.
    pub async fn look_at_plans(&self, conn: &mut AsyncPgConnection) -> Result<usize, AdviceError> {
        conn.batch_execute(LONGEST_LOOK).await.map_err(Error::from)?;
        let Some(counted) = counts_of_server(conn, MOST_STATEMENTS).await? else { return Ok(0) };
        let mut statements: HashMap<Fingerprint, Counted> = HashMap::new();
        for (query, counts) in counted {
            let id = query.id.as_str().map_or_else(|| query.id.to_string(), str::to_owned);
            let new = || Counted { sql: query.sql.clone(), ids: Vec::new() };
            statements.entry(fingerprint(&query.sql)).or_insert_with(new).ids.push((id, counts));
        }
        let mut taken = 0;
        for (statement, counted) in statements {
            let at = SystemTime::now();
            if !lock(&self.kept.history).is_due(statement, at) {
                continue;
            }
            let window = self.since_the_last_look(&counted.ids);
            if window.calls == 0 {
                continue;
            }
            let explained = explain_with_tips(conn, &counted.sql, &ExplainConfig::default()).await;
            let Ok((plan, tips)) = explained else { continue };
            let flip = lock(&self.kept.history).record(statement, &plan, window, at);
            lock(&self.kept.changed).insert(statement.to_string());
            taken += 1;
            if let Some(flip) = flip {
                self.tell(flip);
            }
            self.keep(ExplainedStatement {
                statement,
                text: normalize(&counted.sql),
                query_ids: counted.ids.into_iter().map(|(id, _)| id).collect(),
                at,
                window,
                tree: plan.tree_with_tips(&tips),
                tips,
            });
        }
        self.kept.slower.store(self.regressions().len(), Ordering::Relaxed);
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

    /// Takes the findings of this watch in, for the pages and reports that show insights. Only the first
    /// counts.
    ///
    /// ```
    /// use db_insight::Insights;
    /// use db_insight::repeats::{RepeatsMode, RepeatsWatch};
    ///
    /// let (insights, watch) = (Insights::default(), RepeatsWatch::new(RepeatsMode::Metric));
    /// insights.follow_repeats(&watch);
    /// assert!(insights.repeats().unwrap().is_empty());
    /// ```
    pub fn follow_repeats(&self, watch: &RepeatsWatch) {
        let _ = self.kept.repeats.set(watch.clone());
    }

    /// The latest repeated statements of units of work that are over, the oldest first; none if no watch is
    /// [followed](Insights::follow_repeats).
    pub fn repeats(&self) -> Option<Vec<Finding>> {
        self.kept.repeats.get().map(RepeatsWatch::found)
    }

    /// The statements whose plans were asked for last, the one that took most time first.
    pub fn statements(&self) -> Vec<ExplainedStatement> {
        let mut all: Vec<_> = lock(&self.kept.explained).values().cloned().collect();
        let ms = |one: &ExplainedStatement| one.window.mean_ms * one.window.calls as f64;
        all.sort_by(|a, b| ms(b).total_cmp(&ms(a)));
        all
    }

    /// What the last look said of one statement.
    pub fn statement(&self, statement: Fingerprint) -> Option<ExplainedStatement> {
        lock(&self.kept.explained).get(&statement).cloned()
    }

    /// The statements that are run another way and take another time, the oldest first.
    pub fn flips(&self) -> Vec<Flip> {
        lock(&self.kept.flips).iter().cloned().collect()
    }

    /// The statements that took longer a call in the last day than in the week before it, the costliest
    /// first.
    pub fn regressions(&self) -> Vec<Regression> {
        lock(&self.kept.history).regressions(SystemTime::now())
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
        let flipped = self.flips().iter().filter(|flip| flip.is_regression()).count();
        let slower = self.kept.slower.load(Ordering::Relaxed);
        let advised = self.advice().map_or(0, |(_, advice)| advice.suggestions.len());
        vec![
            Measure::new("db.insight.plan_regressions", MeasureKind::Gauge, "{statement}", flipped as f64),
            Measure::new("db.insight.slower_statements", MeasureKind::Gauge, "{statement}", slower as f64),
            Measure::new("db.insight.advised_indexes", MeasureKind::Gauge, "{index}", advised as f64),
        ]
    }

    /// What was counted of a statement since it was last looked at.
    fn since_the_last_look(&self, ids: &[(String, StatementCounts)]) -> Window {
        let mut counted = lock(&self.kept.counted);
        if counted.len() >= MOST_COUNTED {
            counted.clear();
        }
        let (mut calls, mut ms, mut rows) = (0_u64, 0.0, 0_u64);
        for (id, now) in ids {
            let one = window(counted.insert(id.clone(), *now).unwrap_or_default(), *now);
            calls = calls.saturating_add(one.calls);
            ms += one.mean_ms * one.calls as f64;
            rows = rows.saturating_add(one.rows);
        }
        Window { calls, mean_ms: ms / calls.max(1) as f64, rows }
    }

    fn keep(&self, explained: ExplainedStatement) {
        let mut all = lock(&self.kept.explained);
        if all.len() >= MOST_EXPLAINED && !all.contains_key(&explained.statement) {
            let oldest = all.values().min_by_key(|one| one.at).map(|one| one.statement);
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        all.insert(explained.statement, explained);
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
