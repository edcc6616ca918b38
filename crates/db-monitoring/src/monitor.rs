//! The monitor: it hears of every statement as its last byte goes by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Caller, Endpoint, Measure, Observe, OwnStatement, Part, QueryEvent, Running, TraceLink};
use db_statement::Fingerprint;
use tracing::Span;

use crate::counts::{Counts, Tally};
use crate::pressure::{BETWEEN_LOOKS, LookAtPools, Pressure};
use crate::recent::{BETWEEN_NOTES, Notes, Recent, Totals};
use crate::slow::{Slow, SlowQuery};
use crate::statement::{Clock, StatementStats};
use crate::statements::Statements;
use crate::{MonitoringConfig, log, span, trace};

/// Watches the statements of a service. Cheap to clone: all clones are one.
///
/// ```
/// use db_monitoring::{Monitor, MonitoringConfig};
///
/// let monitor = Monitor::new(MonitoringConfig::default());
/// let part = monitor.part(None); // to `Db::connect_with`; or `observer()` to db-pool's `Connector::observed_by`
/// assert!(part.is_some() && monitor.slow_queries(10).is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct Monitor {
    watching: Arc<Watching>,
}

#[derive(Debug)]
struct Watching {
    config: MonitoringConfig,
    clock: Clock,
    statements: Statements,
    slow: Slow,
    tally: Tally,
    notes: Notes,
    #[cfg(feature = "otel")]
    instruments: std::sync::OnceLock<crate::otel::Instruments>,
}

impl Monitor {
    /// A monitor that has seen nothing yet.
    pub fn new(config: MonitoringConfig) -> Self {
        Monitor {
            watching: Arc::new(Watching {
                config,
                clock: Clock::now(),
                statements: Statements::default(),
                slow: Slow::default(),
                tally: Tally::default(),
                notes: Notes::default(),
                #[cfg(feature = "otel")]
                instruments: std::sync::OnceLock::new(),
            }),
        }
    }

    /// What attaches to the platform: it observes, and reports its counters. None where monitoring is turned
    /// off.
    ///
    /// With `pools` it looks at them once a second, and logs one warning for each episode in which one is
    /// under pressure.
    pub fn part(&self, pools: Option<LookAtPools>) -> Option<Part> {
        let watching = Arc::clone(&self.watching);
        let part = Part::named("monitoring").starting(|ground| async move {
            if let Some(look) = pools {
                ground.spawn(watch(look));
            }
            let noting = Arc::clone(&watching);
            ground.spawn(async move {
                let mut notes = tokio::time::interval(BETWEEN_NOTES);
                notes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    notes.tick().await;
                    noting.note();
                }
            });
            Ok(Running::new().with_metrics(move || watching.tally.measures()))
        });
        self.watching.config.enabled.then(|| Part { observe: Some(self.observer()), ..part })
    }

    /// What hears of statements, for a connector that is used without the platform.
    pub fn observer(&self) -> Arc<dyn Observe> {
        Arc::clone(&self.watching) as Arc<dyn Observe>
    }

    /// The `n` statements that took the most time when they were slow, as
    /// [`slow_query_threshold`](MonitoringConfig::slow_query_threshold) says; the worst first.
    pub fn slow_queries(&self, n: usize) -> Vec<SlowQuery> {
        let mut all = self.watching.slow.all();
        all.truncate(n);
        all
    }

    /// As [`slow_queries`](Monitor::slow_queries), all that once took at least `threshold`.
    pub fn slow_queries_over(&self, threshold: Duration) -> Vec<SlowQuery> {
        let mut all = self.watching.slow.all();
        all.retain(|slow| slow.max >= threshold);
        all
    }

    /// Takes in what is known of a slow statement by its plan, such as db-insight's tips, in place of what
    /// was said before; false if it is none of the [slow ones](Monitor::slow_queries). A tip must hold no
    /// value of any execution.
    ///
    /// ```
    /// use db_monitoring::{Monitor, MonitoringConfig};
    ///
    /// let monitor = Monitor::new(MonitoringConfig::default());
    /// let text = db_statement::fingerprint("SELECT * FROM orders WHERE customer_id = $1");
    /// let tip = "an index on orders (customer_id)".to_owned();
    /// assert!(!monitor.note_tips(text, [tip]), "it was not slow yet");
    /// ```
    pub fn note_tips(&self, statement: Fingerprint, tips: impl IntoIterator<Item = String>) -> bool {
        self.watching.slow.note_tips(statement, tips)
    }

    /// What each statement has cost since the start, those first that took the most time. It is empty while
    /// [`metrics`](MonitoringConfig::metrics) are off.
    pub fn statements(&self) -> Vec<StatementStats> {
        let Watching { statements, clock, .. } = &*self.watching;
        let mut all: Vec<_> = statements.all().iter().filter_map(|statement| statement.read(clock)).collect();
        all.sort_by_key(|statement| std::cmp::Reverse(statement.durations.total()));
        all
    }

    /// How many statements were slow, cancelled, and failed with which code.
    pub fn counts(&self) -> Counts {
        self.watching.tally.read()
    }

    /// What statements cost over the last minute and the last hour. It is noted every 5 s while the
    /// [part](Monitor::part) runs, and empty while [`metrics`](MonitoringConfig::metrics) are off.
    pub fn recent(&self) -> Recent {
        self.watching.notes.recent()
    }

    /// The same counts as figures that every exporter understands; docs/metrics.md lists them.
    pub fn measures(&self) -> Vec<Measure> {
        self.watching.tally.measures()
    }

    /// Reports each statement to `meter` as `db.client.operation.duration`, from now on. Only the first call
    /// counts.
    ///
    /// `namespace` is the database's name. That costs about as much again as watching does.
    #[cfg(feature = "otel")]
    pub fn observe_with(&self, meter: &opentelemetry::metrics::Meter, namespace: &str) {
        let _ = self.watching.instruments.set(crate::otel::Instruments::new(meter, namespace));
    }
}

/// Looks at the pools, for as long as it is polled.
async fn watch(pools: LookAtPools) {
    let (pressure, mut looks) = (Pressure::default(), tokio::time::interval(BETWEEN_LOOKS));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        pressure.look(&pools(), Instant::now());
    }
}

impl Observe for Watching {
    fn wants_trace_links(&self) -> bool {
        self.config.trace_link > 0
    }

    fn trace_link(&self, caller: &Caller) -> Option<TraceLink> {
        trace::link(caller, self.config.trace_link)
    }

    fn wants_spans(&self) -> bool {
        span::is_wanted()
    }

    fn open_span(&self, statement: &str, endpoint: &Endpoint, caller: &Caller) -> Option<Span> {
        let statement = self.statements.with(statement, Arc::clone);
        Some(span::begin(&statement, endpoint, caller))
    }

    fn on_query(&self, event: &QueryEvent<'_>) {
        if let Some(span) = event.span {
            span::end(span, event);
        }
        // What the pool asks itself, such as a sign of life, is no statement of the service's.
        if event.caller.is_none() {
            return;
        }
        let config = &self.config;
        // What we ask along with the service's statements waits when these wait: whoever looks for a slow one
        // is not to find ours. They are counted as they were.
        let own = OwnStatement::of(event.statement);
        let is_shown = own != Some(OwnStatement::Question);
        let slow =
            is_shown && config.slow_query_threshold.is_some_and(|threshold| event.elapsed >= threshold);
        let is_logged = is_shown && config.log_queries;
        let is_told = slow || event.failed || is_logged || self.has_instruments();
        if !config.metrics && !is_told {
            return;
        }
        let text = if own == Some(OwnStatement::Commit) { "COMMIT" } else { event.statement };
        let statement = self.statements.with(text, |statement| {
            if config.metrics {
                statement.record(event, &self.clock);
            }
            is_told.then(|| Arc::clone(statement))
        });
        let Some(statement) = statement else { return };
        if event.failed {
            self.tally.failed(event);
        }
        if slow {
            self.tally.slow();
            self.slow.record(&statement, event, &self.clock);
        }
        if slow && config.log_slow_queries {
            log::slow(&statement, event);
        } else if is_logged {
            log::ended(&statement, event);
        }
        #[cfg(feature = "otel")]
        if let Some(instruments) = self.instruments.get().filter(|_| config.metrics) {
            instruments.record(&statement, event);
        }
    }
}

impl Watching {
    /// Notes what statements have cost so far.
    fn note(&self) {
        self.notes.note(Instant::now(), || {
            let counts = self.tally.read();
            let all = self.statements.all();
            let durations = all.iter().map(|statement| statement.durations());
            durations.fold(
                Totals { failed: counts.errors(), slow: counts.slow, ..Totals::default() },
                |sum, one| Totals {
                    statements: sum.statements + one.count(),
                    busy: sum.busy.saturating_add(one.total()),
                    ..sum
                },
            )
        });
    }

    /// Whether somebody else records each statement, too.
    fn has_instruments(&self) -> bool {
        #[cfg(feature = "otel")]
        return self.config.metrics && self.instruments.get().is_some();
        #[cfg(not(feature = "otel"))]
        false
    }
}
