//! Watches a service's statements for repeats: a unit of work is judged when it has been quiet for a while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use db_core::{BindHashes, Checkout, Measure, MeasureKind, Observe, QueryEvent, Site, WorkScope};
#[cfg(feature = "diesel")]
use db_core::{Part, Running};
use foldhash::fast::RandomState;

use super::{Execution, Finding, LONGEST_GAP_MS, Label, find};

/// How many executions of one unit of work are kept.
const MOST_EXECUTIONS: usize = 512;

/// How many units of work are kept at a time; a service with more looks at some of them only.
const MOST_UNITS: usize = 1024;

/// How many findings and statements are kept.
const MOST_FINDINGS: usize = 100;
const MOST_STATEMENTS: usize = 4096;

/// What is done with what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepeatsMode {
    /// Nothing is watched.
    Off,
    /// Counted, as `db.insight.repeats`, and kept for [`RepeatsWatch::findings`].
    #[default]
    Metric,
    /// Counted, and each is a warning in the log: statement, count, line and what to write instead.
    Log,
}

/// Watches for repeated statements in units of work, which are [`WorkScope`]s. Cheap to clone: all clones are
/// one.
///
/// In a test it is a guard:
///
/// ```
/// use db_insight::repeats::{RepeatsMode, RepeatsWatch};
///
/// let watch = RepeatsWatch::new(RepeatsMode::Metric);
/// // … `Db::connect_with(config, [watch.part()])`, and a request in `WorkScope::named("GET /orders").run(…)` …
/// watch.assert_no_n_plus_one();
/// ```
#[derive(Clone)]
pub struct RepeatsWatch {
    watching: Arc<Watching>,
}

struct Watching {
    mode: RepeatsMode,
    born: Instant,
    units: Mutex<Units>,
    findings: Mutex<VecDeque<Finding>>,
    counts: [AtomicU64; 3],
}

#[derive(Default)]
struct Units {
    open: HashMap<u64, Unit, RandomState>,
    /// Room of units that were judged, to be used again.
    spare: Vec<Vec<Ran>>,
    statements: HashSet<Arc<str>, RandomState>,
}

struct Unit {
    scope: WorkScope,
    last: Instant,
    ran: Vec<Ran>,
}

/// One execution, without its values.
struct Ran {
    sent: Instant,
    statement: Arc<str>,
    binds: Option<BindHashes>,
    rows: Option<u64>,
    failed: bool,
    site: Site,
    checkout: Checkout,
}

impl RepeatsWatch {
    /// A watch that has seen nothing yet.
    pub fn new(mode: RepeatsMode) -> Self {
        RepeatsWatch {
            watching: Arc::new(Watching {
                mode,
                born: Instant::now(),
                units: Mutex::default(),
                findings: Mutex::default(),
                counts: Default::default(),
            }),
        }
    }

    /// What attaches to the platform: it observes, judges once a second, and reports its counts.
    #[cfg(feature = "diesel")]
    pub fn part(&self) -> Part {
        let (judging, counting) = (Arc::clone(&self.watching), Arc::clone(&self.watching));
        if self.watching.mode == RepeatsMode::Off {
            return Part::named("repeats");
        }
        let part = Part::named("repeats").starting(|ground| async move {
            ground.spawn(Box::pin(async move {
                let mut each = tokio::time::interval(Duration::from_secs(1));
                each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    each.tick().await;
                    judging.judge(Duration::from_millis(LONGEST_GAP_MS));
                }
            }));
            Ok(Running::new().with_metrics(move || counting.measures()))
        });
        Part { observe: Some(self.observer()), ..part }
    }

    /// What hears of statements, for a connector that is used without the platform.
    pub fn observer(&self) -> Arc<dyn Observe> {
        Arc::clone(&self.watching) as Arc<dyn Observe>
    }

    /// Judges all that has run so far, and gives the latest findings, the oldest first.
    pub fn findings(&self) -> Vec<Finding> {
        self.watching.judge(Duration::ZERO);
        lock(&self.watching.findings).iter().cloned().collect()
    }

    /// The latest findings of units of work that are over, the oldest first; what still runs is not judged.
    pub fn found(&self) -> Vec<Finding> {
        lock(&self.watching.findings).iter().cloned().collect()
    }

    /// Forgets what was found and what has run.
    pub fn clear(&self) {
        lock(&self.watching.findings).clear();
        lock(&self.watching.units).open.clear();
    }

    /// For tests: panics if a unit of work that has run so far repeats a query for each of many rows.
    ///
    /// # Panics
    ///
    /// With each statement, how often it ran, where, and what to write instead.
    #[track_caller]
    pub fn assert_no_n_plus_one(&self) {
        let found = self.findings();
        let found: Vec<String> =
            found.iter().filter(|one| one.label == Label::NPlusOne).map(ToString::to_string).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// For tests: panics if a unit of work repeats anything: N+1, loops of writes, duplicates.
    ///
    /// # Panics
    ///
    /// As [`assert_no_n_plus_one`](Self::assert_no_n_plus_one).
    #[track_caller]
    pub fn assert_no_repeats(&self) {
        let found: Vec<String> = self.findings().iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

impl fmt::Debug for RepeatsWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatsWatch").field("mode", &self.watching.mode).finish_non_exhaustive()
    }
}

impl Observe for Watching {
    fn wants_binds(&self) -> bool {
        self.mode != RepeatsMode::Off
    }

    fn on_query(&self, event: &QueryEvent<'_>) {
        let Some(caller) = event.caller else { return };
        let Some(scope) = &caller.scope else { return };
        if self.mode == RepeatsMode::Off {
            return;
        }
        let mut units = lock(&self.units);
        let Units { open, spare, statements } = &mut *units;
        if open.len() >= MOST_UNITS && !open.contains_key(&scope.unit()) {
            return;
        }
        let statement = match statements.get(event.statement) {
            Some(known) => Arc::clone(known),
            None => {
                if statements.len() >= MOST_STATEMENTS {
                    statements.clear();
                }
                let new: Arc<str> = event.statement.into();
                statements.insert(Arc::clone(&new));
                new
            }
        };
        let unit = open.entry(scope.unit()).or_insert_with(|| Unit {
            scope: scope.clone(),
            last: event.sent,
            ran: spare.pop().unwrap_or_else(|| Vec::with_capacity(32)),
        });
        unit.last = event.sent.max(unit.last);
        if unit.ran.len() < MOST_EXECUTIONS {
            unit.ran.push(Ran {
                sent: event.sent,
                statement,
                binds: event.binds,
                // A write without RETURNING gives no row, and says how many it changed.
                rows: event.written.or(event.rows),
                failed: event.failed,
                site: caller.site,
                checkout: caller.checkout,
            });
        }
    }
}

impl Watching {
    /// Judges the units that have been quiet for so long.
    fn judge(&self, quiet: Duration) {
        let done: Vec<Unit> = {
            let mut units = lock(&self.units);
            let over: Vec<u64> = units
                .open
                .iter()
                .filter(|(_, unit)| unit.last.elapsed() >= quiet || unit.ran.len() >= MOST_EXECUTIONS)
                .map(|(unit, _)| *unit)
                .collect();
            over.iter().filter_map(|unit| units.open.remove(unit)).collect()
        };
        for mut unit in done {
            for found in self.of_unit(&unit) {
                self.tell(found);
            }
            unit.ran.clear();
            let mut units = lock(&self.units);
            if units.spare.len() < MOST_UNITS / 8 {
                units.spare.push(unit.ran);
            }
        }
    }

    fn of_unit(&self, unit: &Unit) -> Vec<Finding> {
        if unit.ran.len() < super::FEWEST_REPEATS {
            return Vec::new();
        }
        let executions: Vec<Execution> =
            unit.ran.iter().map(|ran| self.execution(&unit.scope, ran)).collect();
        find(&executions)
    }

    fn execution(&self, scope: &WorkScope, ran: &Ran) -> Execution {
        let at = ran.sent.saturating_duration_since(self.born).as_millis();
        Execution {
            at_ms: u64::try_from(at).unwrap_or(u64::MAX),
            scope: Some(scope.name().to_owned()),
            connection: Some(ran.checkout.0.to_string()),
            sql: ran.statement.as_ref().to_owned(),
            binds: ran.binds.iter().flat_map(BindHashes::iter).collect(),
            callsite: Some(ran.site.to_string()),
            rows: ran.rows,
            failed: ran.failed,
            ..Execution::default()
        }
    }

    fn tell(&self, found: Finding) {
        if let Some(count) = self.counts.get(place(found.label)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if self.mode == RepeatsMode::Log {
            tracing::warn!(
                statement = found.statement,
                count = found.count,
                callsite = found.callsite,
                scope = found.scope,
                kind = found.label.as_str(),
                "a unit of work repeats a statement: {}",
                found.instead
            );
        }
        let mut findings = lock(&self.findings);
        if findings.len() >= MOST_FINDINGS {
            findings.pop_front();
        }
        findings.push_back(found);
    }

    fn measures(&self) -> Vec<Measure> {
        [Label::NPlusOne, Label::LoopWrite, Label::Duplicate]
            .into_iter()
            .zip(&self.counts)
            .map(|(label, count)| {
                let value = AtomicU64::load(count, Ordering::Relaxed) as f64;
                Measure::new("db.insight.repeats", MeasureKind::Counter, "{finding}", value)
                    .with("kind", label.as_str())
            })
            .collect()
    }
}

fn place(label: Label) -> usize {
    match label {
        Label::NPlusOne => 0,
        Label::LoopWrite => 1,
        Label::Duplicate => 2,
        Label::Ok => usize::MAX,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, Location, catch_unwind};

    use db_core::{Caller, Endpoint};

    use super::*;

    fn run(watch: &RepeatsWatch, scope: &WorkScope, sql: &str, value: u64) {
        let endpoint = Endpoint::new("127.0.0.1", 5432);
        let mut caller = Caller::now(Checkout(value), Location::caller());
        caller.scope = Some(scope.clone());
        let mut binds = BindHashes::default();
        binds.push(Some(&value.to_be_bytes()));
        let mut event = QueryEvent::new(&endpoint, sql, Instant::now(), Duration::from_millis(1));
        event.caller = Some(&caller);
        event.binds = Some(binds);
        event.rows = Some(1);
        watch.observer().on_query(&event);
    }

    const USER: &str = "SELECT * FROM users WHERE id = $1";

    #[test]
    fn a_guard_names_statement_count_line_and_the_way_out() {
        let (watch, scope) = (RepeatsWatch::new(RepeatsMode::Log), WorkScope::named("GET /orders"));
        (0..6).for_each(|id| run(&watch, &scope, USER, id));
        let panicked = catch_unwind(AssertUnwindSafe(|| watch.assert_no_n_plus_one())).unwrap_err();
        let said = panicked.downcast_ref::<String>().unwrap();
        for part in ["select * from users where id = ?", "6 times", "watch.rs", "eq_any", "GET /orders"] {
            assert!(said.contains(part), "{said}");
        }
        watch.clear();
        watch.assert_no_repeats();
        assert_eq!(watch.watching.measures()[0].value, 1.0);
    }

    #[test]
    fn requests_of_one_name_are_not_one_request() {
        let watch = RepeatsWatch::new(RepeatsMode::Metric);
        (0..9).for_each(|id| run(&watch, &WorkScope::named("GET /users/{id}"), USER, id));
        watch.assert_no_repeats();
    }

    #[test]
    fn the_same_values_are_a_duplicate_and_off_is_off() {
        let scope = WorkScope::named("job");
        let watch = RepeatsWatch::new(RepeatsMode::Metric);
        (0..6).for_each(|_| run(&watch, &scope, USER, 7));
        assert_eq!(watch.findings()[0].label, Label::Duplicate);
        watch.assert_no_n_plus_one();
        let off = RepeatsWatch::new(RepeatsMode::Off);
        (0..9).for_each(|id| run(&off, &scope, USER, id));
        assert!(off.findings().is_empty());
    }
}
