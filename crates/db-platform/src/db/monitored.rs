//! What the statements of a [`Db`] cost, and which were slow.

use db_monitoring::{CheckResult, Monitor, SlowQuery};

use super::Db;
use crate::figures::Metrics;

impl Db {
    /// The `n` statements that took the most time when they were slow, the worst first: those of this
    /// process, since its start, that took
    /// [`slow_query_threshold`](db_monitoring::MonitoringConfig::slow_query_threshold) or longer
    /// (`DB_SLOW_QUERY_THRESHOLD`).
    ///
    /// ```no_run
    /// # fn show(db: db_platform::Db) {
    /// for slow in db.slow_queries(10) {
    ///     println!("{} × {:?}, at most {:?}: {}", slow.count, slow.mean(), slow.max, slow.text);
    /// }
    /// # }
    /// ```
    ///
    /// It asks no server, and what it tells holds no value of any execution.
    pub fn slow_queries(&self, n: usize) -> Vec<SlowQuery> {
        self.monitor.slow_queries(n)
    }

    /// What tells people what is wrong with the database; none where `Config::notifications` names nobody, or
    /// alerts are turned off.
    ///
    /// ```no_run
    /// # fn show(db: db_platform::Db) {
    /// for incident in db.alerts().map(|alerts| alerts.status().open).unwrap_or_default() {
    ///     println!("{} since {}: {}", incident.key, incident.open.since, incident.open.title);
    /// }
    /// # }
    /// ```
    #[cfg(feature = "alerts")]
    pub fn alerts(&self) -> Option<&db_monitoring::alerts::Alerts> {
        self.alerts.as_ref()
    }

    /// The figures of this database as one value: what this process measures, and what the server told its
    /// collector last. It asks no server.
    ///
    /// ```no_run
    /// # fn show(db: db_platform::Db) {
    /// let metrics = db.metrics();
    /// println!("{:.0} statements a second, {} callers wait", metrics.queries_per_second, metrics.waiting);
    /// # }
    /// ```
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.monitor, &self.watched, &self.topology(), &self.pools())
    }

    /// Takes what checks found into [`Db::health`], and into alerts, in place of what this handle's own
    /// checks find: `look` tells what is known now, or none while this process does not look at the server.
    /// It is called often, from any thread, and must not block. Only the first call counts.
    pub fn follow_checks(&self, look: impl Fn() -> Option<Vec<CheckResult>> + Send + Sync + 'static) {
        let _ = self.watched.checks.set(std::sync::Arc::new(look));
    }

    /// What is known of all statements: what each cost, how many failed and with which code.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }
}
