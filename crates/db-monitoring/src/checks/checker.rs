//! The checks inside a service: over what its collector keeps, whenever somebody asks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::checks::{Evidence, Selection, judge};
use crate::server::{Collector, Snapshot};
use crate::{CheckResult, LookAtPools, OtherChecks};

/// What was judged stands for so long, unless the server was looked at since.
const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// Nobody needs to know more often than this.
const JUDGED_AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// Counters are compared with a snapshot of about so long ago.
const COMPARED_OVER: Duration = Duration::from_secs(300);
/// A snapshot is kept to compare with so often.
const KEPT_EVERY: Duration = Duration::from_secs(60);

/// Judges what a collector has read, with the pools and with the checks that others brought.
///
/// It asks the server nothing: schemas (bloat, duplicate indexes, foreign keys) are looked at by the
/// collector, hourly. Cheap to clone; clones share what they know.
///
/// ```no_run
/// # fn example(collector: db_monitoring::server::Collector) {
/// use db_monitoring::checks::{Checker, Selection};
/// use db_monitoring::OtherChecks;
///
/// let checker = Checker::new(collector, OtherChecks::default(), Selection::default());
/// for result in checker.results().iter().filter(|result| result.status.is_problem()) {
///     eprintln!("{}: {}", result.id, result.summary);
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Checker {
    collector: Collector,
    others: OtherChecks,
    selection: Selection,
    pools: Option<LookAtPools>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// To compare with, the oldest first.
    snapshots: VecDeque<(Instant, Arc<Snapshot>)>,
    judged: Option<Judged>,
}

/// What was found, when, and in which snapshot.
struct Judged {
    at: Instant,
    of: Arc<Snapshot>,
    results: Arc<Vec<CheckResult>>,
}

impl Judged {
    fn stands(&self, now: Instant, snapshot: &Arc<Snapshot>) -> bool {
        let for_how_long = if Arc::ptr_eq(&self.of, snapshot) { JUDGED_EVERY } else { JUDGED_AT_MOST_EVERY };
        now.saturating_duration_since(self.at) < for_how_long
    }
}

impl Known {
    /// Keeps a snapshot to compare with, and gives the one that is about [`COMPARED_OVER`] old, else the
    /// oldest.
    fn before(&mut self, now: Instant, snapshot: &Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        let is_old = |(at, _): &(Instant, Arc<Snapshot>), age| now.saturating_duration_since(*at) >= age;
        while self.snapshots.get(1).is_some_and(|kept| is_old(kept, COMPARED_OVER)) {
            self.snapshots.pop_front();
        }
        let before = self.snapshots.front().map(|(_, snapshot)| Arc::clone(snapshot));
        if self.snapshots.back().is_none_or(|kept| is_old(kept, KEPT_EVERY)) && snapshot.server.get().is_ok()
        {
            self.snapshots.push_back((now, Arc::clone(snapshot)));
        }
        before
    }
}

impl Checker {
    /// Judges what this collector reads.
    pub fn new(collector: Collector, others: OtherChecks, selection: Selection) -> Self {
        Checker { collector, others, selection, pools: None, known: Arc::default() }
    }

    /// The same, which also looks at these pools.
    #[must_use]
    pub fn with_pools(mut self, pools: LookAtPools) -> Self {
        self.pools = Some(pools);
        self
    }

    /// What the checks say now of what was read last. It computes and waits for nobody.
    pub fn results(&self) -> Arc<Vec<CheckResult>> {
        let now = Instant::now();
        let snapshot = self.collector.latest();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(judged) = known.judged.as_ref().filter(|judged| judged.stands(now, &snapshot)) {
            return Arc::clone(&judged.results);
        }
        let before = known.before(now, &snapshot);
        let pools = self.pools.as_ref().and_then(|look| db_core::foreign::call(|| look()));
        let evidence =
            Evidence { before: before.as_deref(), pools: pools.as_deref(), ..Evidence::of(&snapshot) };
        let mut results = judge(&evidence, &self.selection);
        results.extend(self.others.results());
        let results = Arc::new(results);
        known.judged = Some(Judged { at: now, of: Arc::clone(&snapshot), results: Arc::clone(&results) });
        results
    }

    /// What [`results`](Checker::results) or [`run`](Checker::run) found last, for whoever is asked often;
    /// none before the first time.
    pub fn last(&self) -> Option<Arc<Vec<CheckResult>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.judged.as_ref().map(|judged| Arc::clone(&judged.results))
    }

    /// Judges whatever the collector reads, as soon as it was read, until it is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn run(self) {
        let mut changes = self.collector.changes();
        // The collector is ours as well, so its end is ours.
        while changes.changed().await.is_ok() {
            self.results();
            tokio::time::sleep(JUDGED_AT_MOST_EVERY).await;
        }
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("selection", &self.selection).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_compared_with_a_look_of_five_minutes_ago() {
        use std::time::SystemTime;

        use crate::server::{Section, ServerIdentity, ServerRole};

        let server = ServerIdentity::new(db_core::Endpoint::new("db", 5432), ServerRole::Primary);
        let server = Section::read(SystemTime::now(), server);
        let snapshot = Snapshot { server, ..Snapshot::default() };
        let (mut known, begin) = (Known::default(), Instant::now());
        let mut looks = Vec::new();
        for minute in 0..10_u64 {
            let snapshot = Arc::new(snapshot.clone());
            looks.push(Arc::clone(&snapshot));
            let before = known.before(begin + Duration::from_secs(minute * 60), &snapshot);
            let expected = minute.checked_sub(1).map(|_| minute.saturating_sub(5) as usize);
            let found = before.and_then(|before| looks.iter().position(|look| Arc::ptr_eq(look, &before)));
            assert_eq!(found, expected, "minute {minute}");
        }
    }
}
