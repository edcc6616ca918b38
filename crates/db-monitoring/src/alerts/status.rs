//! How alerting itself is: who watches the watcher looks here.

use std::time::SystemTime;

use db_core::{Condition, Measure, MeasureKind, PartHealth};
use db_notify::Severity;
use serde::Serialize;

use crate::alerts::OpenIncident;

/// How alerting itself is.
///
/// ```
/// use db_monitoring::alerts::AlertStatus;
///
/// let status = AlertStatus::default();
/// assert!(!status.leads && status.open.is_empty());
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct AlertStatus {
    /// Whether this replica tells people. One of all replicas does.
    pub leads: bool,
    /// What is open, the gravest first; only the replica that leads knows.
    pub open: Vec<OpenIncident>,
    /// When conditions were last looked at.
    pub evaluated: Option<SystemTime>,
    /// When a message last came through.
    pub delivered: Option<SystemTime>,
    /// Messages that came through.
    pub deliveries: u64,
    /// Messages that a channel refused for good, and that went another way.
    pub diverted: u64,
    /// Messages that reached nobody.
    pub lost: u64,
    /// Why incidents are not kept in the database, where they are not.
    pub trouble: Option<String>,
    /// Why the heartbeat was not heard the last time.
    pub heartbeat_trouble: Option<String>,
}

/// Conditions that nobody has looked at for so long are not watched.
const STALE: std::time::Duration = std::time::Duration::from_secs(30);

impl AlertStatus {
    /// The verdict for a health check.
    pub(crate) fn health(&self) -> PartHealth {
        let stale = self.evaluated.is_some_and(|at| at.elapsed().unwrap_or_default() > STALE);
        let troubles = [
            stale.then(|| format!("nobody has looked at conditions for {STALE:?}")),
            (self.lost > 0).then(|| format!("{} messages reached nobody", self.lost)),
            self.trouble.clone(),
            self.heartbeat_trouble.as_ref().map(|why| format!("the heartbeat is not heard: {why}")),
        ];
        let troubles: Vec<String> = troubles.into_iter().flatten().collect();
        if troubles.is_empty() {
            PartHealth::up()
        } else {
            PartHealth::new(Condition::Degraded, troubles.join("; "))
        }
    }

    /// The same as figures that every exporter understands.
    pub(crate) fn measures(&self) -> Vec<Measure> {
        let gauge = |name, unit, value: f64| Measure::new(name, MeasureKind::Gauge, unit, value);
        let count = |name, value: u64| Measure::new(name, MeasureKind::Counter, "{message}", value as f64);
        let age =
            |at: Option<SystemTime>| at.map_or(-1.0, |at| at.elapsed().unwrap_or_default().as_secs_f64());
        let open = |critical: bool| {
            let count = self.open.iter().filter(|one| one.open.critical == critical).count();
            let severity = if critical { Severity::Critical } else { Severity::Warning };
            gauge("db.alerts.open", "{incident}", count as f64).with("severity", severity.as_str())
        };
        vec![
            gauge("db.alerts.leads", "1", f64::from(u8::from(self.leads))),
            gauge("db.alerts.evaluation.age", "s", age(self.evaluated)),
            gauge("db.alerts.delivery.age", "s", age(self.delivered)),
            open(false),
            open(true),
            count("db.alerts.delivered", self.deliveries),
            count("db.alerts.diverted", self.diverted),
            count("db.alerts.lost", self.lost),
        ]
    }
}
