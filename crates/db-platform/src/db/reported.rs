//! What is known of a [`Db`], for people: a report on its server, and pages to mount in the service.

use std::sync::Arc;

use db_monitoring::checks::Visit;
use db_monitoring::report::Report;
use db_monitoring::server::{Collector, CollectorConfig, OpenConnection, ServerSession};

use super::Db;
use crate::servers::open_direct;

impl Db {
    /// Looks at the primary once, on connections of its own past the pools, and reports what it found:
    /// connections, statements, indexes, vacuum, locks, sizes, transactions, replication, settings; with
    /// the feature `insight` also what [`Db::insights`] knows. What could not be asked is in the report
    /// as not known, with the reason.
    ///
    /// ```no_run
    /// # async fn show(db: db_platform::Db) {
    /// let report = db.report().await;
    /// println!("{}", report.to_text());
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future closes the connections.
    pub async fn report(&self) -> Report {
        let report = self.report_on_server().await;
        #[cfg(feature = "insight")]
        let report =
            crate::InsightPages::of(&self.insights).panels().into_iter().fold(report, Report::section);
        report
    }

    async fn report_on_server(&self) -> Report {
        let config = CollectorConfig { one_leader: false, ..CollectorConfig::default() };
        let open = self.open_direct();
        let snapshot = Collector::new(Arc::clone(&open), config).collect_once().await;
        let session = match open(None).await {
            Ok((endpoint, conn)) => ServerSession::open(conn, endpoint).await.ok(),
            Err(_) => None,
        };
        let report = match &session {
            Some(session) => Report::of_visit(&snapshot, &Visit::to(session).await, None),
            None => Report::of(&snapshot, None),
        };
        match self.collector() {
            Some(collector) => report.with_growth(collector),
            None => report,
        }
    }

    /// How a collector or the dashboard's actions open connections: to the primary, past pools and poolers.
    pub fn open_direct(&self) -> OpenConnection {
        open_direct(self.direct.clone())
    }
}

#[cfg(feature = "dashboard")]
mod dashboard {
    use std::sync::{Arc, Weak};

    use db_monitoring::PoolLoad;
    use db_monitoring::dashboard::Source;
    use db_monitoring::panel::{Column, Panel, Table, Value};
    use db_pool::{Pool, Status};
    use db_replica_routing::Router;

    use crate::Db;

    impl Db {
        /// What the dashboard of this service shows: its statements, its pools, its servers as it sees them,
        /// and what [`Db::collector`] and the checks know of the server. Mount it.
        ///
        /// ```no_run
        /// # async fn mount(db: db_platform::Db) -> Result<axum::Router, Box<dyn std::error::Error>> {
        /// use db_platform::monitoring::dashboard::{self, Access};
        ///
        /// let token = std::env::var("DASHBOARD_TOKEN")?;
        /// let pages = dashboard::router(db.dashboard("shop"), Access::token(token)?)?;
        /// Ok(axum::Router::new().nest("/admin/performance", pages))
        /// # }
        /// ```
        ///
        /// It keeps no pool open.
        pub fn dashboard(&self, service: &str) -> Source {
            let (for_loads, for_pool) = (Arc::downgrade(&self.router), Arc::downgrade(&self.router));
            let for_topology = Arc::downgrade(&self.router);
            let source = Source::named(service);
            #[cfg(feature = "alerts")]
            let source = match self.alerts() {
                Some(alerts) => source.alerts(alerts.clone()),
                None => source,
            };
            let source = match self.watched.collected.get() {
                Some(collected) => source.collector(collected.collector.clone()),
                None => source,
            };
            // What parts check of themselves as well.
            let watched = Arc::clone(&self.watched);
            let source = source.checks(move || watched.checks().map(Arc::new));
            #[cfg(feature = "migrations")]
            let source = crate::upkeep_pages::migrations::shown(
                source,
                self.direct.clone(),
                self.ledger_schema.clone(),
            );
            #[cfg(feature = "maintenance")]
            let source = crate::upkeep_pages::partitions::shown(source, &self.upkeep);
            #[cfg(feature = "cache")]
            let source = match &self.cache {
                Some(cache) => {
                    let cache = cache.cache().clone();
                    source.feed("cache", move || {
                        let panel = cache.stats().panel();
                        async move { vec![panel] }
                    })
                }
                None => source,
            };
            #[cfg(feature = "insight")]
            let source = source.insight(crate::InsightPages::of(&self.insights));
            source
                .monitor(self.monitor.clone())
                .pools(Arc::new(move || loads(&for_loads)))
                .feed("pool", move || {
                    let panel = pool_panel(&pools(&for_pool));
                    async move { vec![panel] }
                })
                .feed("replication", move || {
                    let panel = for_topology.upgrade().map(|router| router.topology().panel());
                    async move { panel.into_iter().collect() }
                })
        }
    }

    fn pools(router: &Weak<Router<Pool>>) -> Vec<Status> {
        router.upgrade().map(|router| router.sources(|_, pool| pool.status())).unwrap_or_default()
    }

    fn loads(router: &Weak<Router<Pool>>) -> Vec<PoolLoad> {
        let load = |purpose, pool: &Pool| {
            let status = pool.status();
            let name = crate::db::connect::name_of(pool, purpose);
            PoolLoad { name, in_use: status.in_use(), max: status.max, waiting: status.waiting }
        };
        router.upgrade().map(|router| router.sources(load)).unwrap_or_default()
    }

    /// What the pools have counted.
    fn pool_panel(pools: &[Status]) -> Panel {
        let columns = [
            Column::new("pool", "Pool"),
            Column::new("open", "Open"),
            Column::new("idle", "Idle"),
            Column::new("acquires", "Handed out"),
            Column::new("timeouts", "Gave up"),
            Column::new("wait_p99_seconds", "Wait, p99"),
            Column::new("held_p99_seconds", "Held, p99"),
        ];
        let table = pools.iter().fold(Table::new("pools_counted", columns), |table, status| {
            let count = |number: usize| Value::Count(number as u64);
            table.row([
                Value::text(status.endpoint.to_string()),
                count(status.open),
                count(status.idle),
                Value::Count(status.acquires),
                Value::Count(status.timeouts),
                Value::Seconds(status.wait_times.quantile(0.99).as_secs_f64()),
                Value::Seconds(status.hold_times.quantile(0.99).as_secs_f64()),
            ])
        });
        Panel::new("pools_counted", "Waits for connections, and how long they are held").table(table)
    }
}
