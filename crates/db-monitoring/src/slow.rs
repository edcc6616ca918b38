//! Statements that were slow, each with how often and how much.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use db_core::{QueryEvent, Site, TraceLink, WorkScope};
use db_statement::Fingerprint;

use crate::statement::{Clock, Statement};

/// The most statements that are kept; the one that was not slow for the longest time goes first.
const MOST: usize = 256;
/// The most that is kept of what is said of one of them.
const MOST_TIPS: usize = 16;

/// A statement that was slow at least once. It holds no value of any execution.
///
/// ```
/// use db_monitoring::{Monitor, MonitoringConfig};
///
/// let monitor = Monitor::new(MonitoringConfig::default());
/// for slow in monitor.slow_queries(10) {
///     println!("{} × {:?}: {} ({:?})", slow.count, slow.mean(), slow.text, slow.site);
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SlowQuery {
    /// What all its executions have in common.
    pub fingerprint: Fingerprint,
    /// Its normal form: neither bind values nor constants.
    pub text: Arc<str>,
    /// How often it was slow.
    pub count: u64,
    /// How long it took when it was slow, added up.
    pub total: Duration,
    /// The longest that it took.
    pub max: Duration,
    /// When it was slow last.
    pub last: SystemTime,
    /// The line of code that took the connection on which it was slow last.
    pub site: Option<Site>,
    /// The unit of work in which it was slow last, if that has a name.
    pub scope: Option<WorkScope>,
    /// What the server's log calls the span in which it was slow last, if it
    /// [names](crate::MonitoringConfig::trace_link) that.
    pub trace: Option<TraceLink>,
    /// What somebody who has looked at its plan says of it:
    /// [`Monitor::note_tips`](crate::Monitor::note_tips).
    pub tips: Arc<[String]>,
}

impl SlowQuery {
    /// How long it took on average when it was slow.
    pub fn mean(&self) -> Duration {
        self.total.div_f64(self.count.max(1) as f64)
    }
}

/// The statements that were slow.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    kept: Mutex<HashMap<Fingerprint, SlowQuery>>,
}

impl Slow {
    pub(crate) fn record(&self, statement: &Statement, event: &QueryEvent<'_>, clock: &Clock) {
        let now = clock.at(event.sent + event.elapsed);
        let mut kept = self.kept();
        if kept.len() >= MOST
            && !kept.contains_key(&statement.fingerprint)
            && let Some(oldest) = kept.values().min_by_key(|slow| slow.last).map(|slow| slow.fingerprint)
        {
            kept.remove(&oldest);
        }
        let slow = match kept.entry(statement.fingerprint) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(free) => free.insert(SlowQuery {
                fingerprint: statement.fingerprint,
                text: Arc::clone(&statement.text),
                count: 0,
                total: Duration::ZERO,
                max: Duration::ZERO,
                last: now,
                site: None,
                scope: None,
                trace: None,
                tips: Arc::default(),
            }),
        };
        slow.count += 1;
        slow.total = slow.total.saturating_add(event.elapsed);
        slow.max = slow.max.max(event.elapsed);
        slow.last = now;
        slow.site = event.caller.map(|caller| caller.site);
        slow.scope = event.caller.and_then(|caller| caller.scope.clone());
        slow.trace = event.caller.and_then(|caller| caller.trace);
    }

    /// Takes in what is said of a statement; whether it is kept.
    pub(crate) fn note_tips(&self, of: Fingerprint, tips: impl IntoIterator<Item = String>) -> bool {
        let tips = tips.into_iter().take(MOST_TIPS).collect();
        match self.kept().get_mut(&of) {
            Some(slow) => slow.tips = tips,
            None => return false,
        }
        true
    }

    /// All of them, those first that took the most time.
    pub(crate) fn all(&self) -> Vec<SlowQuery> {
        let mut all: Vec<SlowQuery> = self.kept().values().cloned().collect();
        all.sort_by_key(|slow| std::cmp::Reverse(slow.total));
        all
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Fingerprint, SlowQuery>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
