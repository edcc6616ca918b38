//! Where the pages get what they show. What a process does not have stays away, and its page says so.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use db_statement::Fingerprint;

use super::Actions;
use crate::panel::{Panel, Plot};
use crate::server::{Collector, Snapshot};
use crate::{CheckResult, LookAtPools, Monitor};

type Answer<'a> = Pin<Box<dyn Future<Output = Vec<Panel>> + Send + 'a>>;

type LastChecks = Arc<dyn Fn() -> Option<Arc<Vec<CheckResult>>> + Send + Sync>;
type Marks = Arc<dyn Fn() -> Vec<(f64, String)> + Send + Sync>;

/// Panels of a sibling, such as a cache or the backups. It is asked for each look at its page, and must not
/// block.
pub trait Feed: Send + Sync + 'static {
    /// What there is to see now.
    fn panels(&self) -> Answer<'_>;
}

impl<F, A> Feed for F
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = Vec<Panel>> + Send + 'static,
{
    fn panels(&self) -> Answer<'_> {
        Box::pin(self())
    }
}

/// Plans and advice: what somebody knows of a statement besides its figures.
pub trait Insight: Send + Sync + 'static {
    /// What is known of this statement, for its own page.
    fn of_statement(&self, fingerprint: Fingerprint) -> Answer<'_>;

    /// What is known of the database as a whole, for the page on indexes.
    fn of_database(&self) -> Answer<'_>;
}

/// Where the pages get what they show.
///
/// ```
/// use db_monitoring::dashboard::Source;
/// use db_monitoring::panel::{Panel, Value};
/// use db_monitoring::{Monitor, MonitoringConfig};
///
/// let source = Source::named("shop")
///     .monitor(Monitor::new(MonitoringConfig::default()))
///     .feed("cache", || async { vec![Panel::new("hits", "Hits").figure("hits", "Hits", Value::Count(7))] });
/// assert!(format!("{source:?}").contains("shop"));
/// ```
#[derive(Clone)]
pub struct Source {
    pub(super) service: String,
    pub(super) monitor: Option<Monitor>,
    pub(super) pools: Option<LookAtPools>,
    pub(super) snapshot: Option<Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>>,
    pub(super) collector: Option<Collector>,
    pub(super) cores: Option<usize>,
    pub(super) checks: Option<LastChecks>,
    pub(super) marks: Option<Marks>,
    pub(super) feeds: BTreeMap<String, Vec<Arc<dyn Feed>>>,
    pub(super) insight: Option<Arc<dyn Insight>>,
    pub(super) actions: Option<Actions>,
}

impl Source {
    /// A source for the pages of the service of this name, which knows nothing yet.
    pub fn named(service: impl Into<String>) -> Self {
        Source {
            service: service.into(),
            monitor: None,
            pools: None,
            snapshot: None,
            collector: None,
            cores: None,
            checks: None,
            marks: None,
            feeds: BTreeMap::new(),
            insight: None,
            actions: None,
        }
    }

    /// The same, which knows the statements of this process.
    #[must_use]
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.monitor = Some(monitor);
        self
    }

    /// The same, which looks at the process's pools.
    #[must_use]
    pub fn pools(mut self, look: LookAtPools) -> Self {
        self.pools = Some(look);
        self
    }

    /// The same, which knows what the server tells of itself. The function must not block: it gives what is
    /// known already.
    #[must_use]
    pub fn snapshot(mut self, snapshot: impl Fn() -> Arc<Snapshot> + Send + Sync + 'static) -> Self {
        self.snapshot = Some(Arc::new(snapshot));
        self
    }

    /// The same, which knows what this collector last heard of the server.
    #[must_use]
    pub fn collector(mut self, collector: Collector) -> Self {
        self.collector = Some(collector.clone());
        self.snapshot(move || collector.latest())
    }

    /// The same, whose server has so many cores: the line in the plot of its load. Left out, it is drawn only
    /// where the
    /// server is on this machine.
    #[must_use]
    pub fn cores(mut self, cores: usize) -> Self {
        self.cores = Some(cores);
        self
    }

    /// The same, which knows what the checks found last; none while they have not run. The function must not
    /// block.
    #[must_use]
    pub fn checks(
        mut self,
        checks: impl Fn() -> Option<Arc<Vec<CheckResult>>> + Send + Sync + 'static,
    ) -> Self {
        self.checks = Some(Arc::new(checks));
        self
    }

    /// The same, with moments that every chart marks, such as deployments and migrations: seconds since 1970,
    /// and what.
    #[must_use]
    pub fn marks(mut self, marks: impl Fn() -> Vec<(f64, String)> + Send + Sync + 'static) -> Self {
        self.marks = Some(Arc::new(marks));
        self
    }

    /// The same, with panels more on a page: `cache`, `replication`, `migrations`, `backups`, `alerts`, or
    /// any other.
    #[must_use]
    pub fn feed(mut self, page: impl Into<String>, feed: impl Feed) -> Self {
        self.feeds.entry(page.into()).or_default().push(Arc::new(feed));
        self
    }

    /// The same, which shows what people were told, and how alerting itself is.
    #[cfg(feature = "alerts")]
    #[must_use]
    pub fn alerts(self, alerts: crate::alerts::Alerts) -> Self {
        self.feed("alerts", move || {
            let panels = crate::sections::alerts(&alerts.status());
            async move { panels }
        })
    }

    /// The same, with plans and advice.
    #[must_use]
    pub fn insight(mut self, insight: impl Insight) -> Self {
        self.insight = Some(Arc::new(insight));
        self
    }

    /// The same, on whose pages people may cancel statements and end sessions. Without this nobody can.
    #[must_use]
    pub fn actions(mut self, actions: Actions) -> Self {
        self.actions = Some(actions);
        self
    }

    /// Marks on a plot what happened while it was drawn.
    pub(super) fn mark(&self, plot: &mut Plot) {
        let Some(marks) = &self.marks else { return };
        let (Some(from), Some(to)) = (plot.times.first(), plot.times.last()) else { return };
        plot.marks = marks().into_iter().filter(|(at, _)| at >= from && at <= to).collect();
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("service", &self.service).finish_non_exhaustive()
    }
}
