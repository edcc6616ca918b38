//! What a [`Db`] looks at on the server by itself: a collector of its own, and the checks over what it keeps.

use std::sync::Arc;

use db_core::{Part, Running};
use db_monitoring::checks::{Checker, Selection};
use db_monitoring::server::{Collector, CollectorConfig};
use db_monitoring::{LookAtPools, MonitoringConfig, OtherChecks};

use super::Db;
use crate::watched::{Collected, Watched};

/// What the part of a collector is called.
const COLLECTOR: &str = "collector";

/// Whether the settings ask for a collector.
pub(super) fn is_wanted(config: &MonitoringConfig) -> bool {
    config.enabled && config.collect_every.is_some()
}

/// The parts, after one that collects and one that judges; only themselves where the settings want no
/// collector, or one of them is one.
pub(super) fn parts(
    config: &MonitoringConfig,
    watched: &Arc<Watched>,
    pools: LookAtPools,
    parts: impl IntoIterator<Item = Part>,
) -> Vec<Part> {
    let mut all: Vec<Part> = parts.into_iter().collect();
    if is_wanted(config) && all.iter().all(|part| part.name != COLLECTOR) {
        let (collector, collects) = Collector::beside(CollectorConfig::of(config));
        collector.watch_pools(Arc::clone(&pools));
        let checker = checker(&collector).with_pools(pools);
        let judges = checker.clone();
        let judges = Part::named("checks").starting(|ground| async move {
            ground.spawn(judges.run());
            Ok(Running::new())
        });
        let _ = watched.collected.set(Collected { collector, checker, is_own: true });
        all.splice(0..0, [collects, judges]);
    }
    all
}

fn checker(collector: &Collector) -> Checker {
    Checker::new(collector.clone(), OtherChecks::default(), Selection::default())
}

impl Db {
    /// The collector by which this handle knows the server: its own, which
    /// [`collect_every`](MonitoringConfig::collect_every) asks for (`MONITORING_INTERVAL`), else the one that
    /// [`Db::follow`] was given; none without either.
    ///
    /// ```no_run
    /// # fn show(db: db_platform::Db) {
    /// if let Some(collector) = db.collector() {
    ///     println!("{:?} sessions", collector.latest().activity.get().map(Vec::len));
    /// }
    /// # }
    /// ```
    ///
    /// It asks no server.
    pub fn collector(&self) -> Option<&Collector> {
        self.watched.collected.get().map(|one| &one.collector)
    }

    /// Takes what this collector knows into [`Db::metrics`], and what checks find in it into [`Db::health`]
    /// and alerts. It is for a collector of the service's own: attach its part, which keeps this handle from
    /// starting one. Only the first counts.
    pub fn follow(&self, collector: &Collector) {
        let (checker, collector) = (checker(collector), collector.clone());
        let _ = self.watched.collected.set(Collected { collector, checker, is_own: false });
    }
}
