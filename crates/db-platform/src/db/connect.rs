//! Builds a [`Db`]: finds the primary, opens the pools, starts the monitors and then the parts.

use std::sync::Arc;
#[cfg(feature = "otel")]
use std::sync::OnceLock;
#[cfg(feature = "monitoring")]
use std::sync::Weak;
use std::time::Duration;

use db_core::{Endpoint, Observe, Part, Result, Server};
use db_pool::{Connector, Pool, PoolConfig};
use db_replica_routing::{LostWrites, NodeStatus, Purpose, Router, ServerFacts, Signals};
use db_retry::{Retry, RetryConfig};

use super::{Db, PATIENCE, close};
#[cfg(feature = "alerts")]
use crate::alerting::Looks;
use crate::breakers::Breakers;
use crate::config::Config;
use crate::ground::Standing;
use crate::parts::Wants;
use crate::servers::Servers;
#[cfg(feature = "monitoring")]
use crate::watched::Watched;

impl Db {
    /// Connects: finds the primary, starts the pools and the monitors.
    ///
    /// Standbys that do not answer are no error: reads go elsewhere until they do. With the feature `cache`
    /// it has a cache, as `Config::cache` says; to declare tables for it, use `Db::connect_with_cache`.
    ///
    /// # Errors
    /// [`Error::Connect`](db_core::Error::Connect) where the primary cannot be reached within
    /// `connect_timeout`; its message says what to do.
    ///
    /// # Cancel safety
    /// Dropping the future closes whatever was opened.
    pub async fn connect(config: Config) -> Result<Db> {
        Db::connect_with(config, []).await
    }

    /// As [`Db::connect`], with what siblings attach: a cache, a collector, or a part of the service's own.
    ///
    /// Their hooks see every connection from the first one on. They start in their order when the servers are
    /// known, and [`Db::shutdown`] stops them in reverse, before the pools close.
    ///
    /// ```no_run
    /// # use db_platform::{Config, Db, Part, Result};
    /// # use db_platform::core::{Running, QueryEvent, Observe};
    /// # struct Slow;
    /// # impl Observe for Slow {}
    /// # async fn start(config: Config) -> Result<Db> {
    /// let slow = Part::named("slow queries").observing(Slow).starting(|ground| async move {
    ///     let servers = ground.servers().len();
    ///     ground.spawn(async move { println!("{servers} servers") });
    ///     Ok(Running::new())
    /// });
    /// Db::connect_with(config, [slow]).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::connect`]; and the error of a part that does not start: those before it are stopped again.
    ///
    /// # Cancel safety
    /// As [`Db::connect`].
    pub async fn connect_with(config: Config, parts: impl IntoIterator<Item = Part>) -> Result<Db> {
        #[cfg(feature = "cache")]
        if config.cache.is_some() {
            let cache = crate::cache_part::DbCache::of(&config)?;
            return Db::connect_with_cache(config, cache, parts).await;
        }
        Db::connect_without_cache(config, parts).await
    }

    /// As [`Db::connect_with`], whatever the configuration says of a cache.
    pub(super) async fn connect_without_cache(
        config: Config,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Db> {
        config.check()?;
        #[cfg(feature = "monitoring")]
        let monitor = db_monitoring::Monitor::new(config.monitoring.clone());
        #[cfg(feature = "monitoring")]
        let watched: Arc<Watched> = Arc::default();
        #[cfg(feature = "alerts")]
        let alerts = crate::alerting::of(&config)?;
        #[cfg(feature = "alerts")]
        let parts = alerts
            .as_ref()
            .map(|alerts| {
                let (monitor, watched) = (monitor.clone(), Arc::clone(&watched));
                crate::alerting::part(alerts, Looks { monitor, pools: look_at_pools(&watched), watched })
            })
            .into_iter()
            .chain(parts);
        #[cfg(all(feature = "collector", feature = "insight"))]
        let insights = db_insight::Insights::default();
        #[cfg(all(feature = "collector", feature = "insight"))]
        let parts = parts.into_iter().chain(crate::insight_part::part(
            &insights,
            config.insight,
            &watched,
            &monitor,
            &config.monitoring,
        ));
        #[cfg(feature = "collector")]
        let parts = super::collected::parts(&config.monitoring, &watched, look_at_pools(&watched), parts);
        #[cfg(feature = "maintenance")]
        let upkeep = crate::partition_upkeep::upkeep_of(&config)?;
        #[cfg(feature = "maintenance")]
        let parts = parts
            .into_iter()
            .chain(upkeep.part(&config.partitions))
            .chain(upkeep.routine_part(&config.upkeep));
        #[cfg(feature = "monitoring")]
        let parts = monitor.part(Some(look_at_pools(&watched))).into_iter().chain(parts);
        let parts = db_retry::marker::part(&config.retry).into_iter().chain(parts);
        let mut wants = Wants::of(parts);
        let signals = Signals::default();
        let servers = Arc::new(Servers::of(&config));
        let facts = servers.primary().await?;
        let statement_timeout = servers.statement_timeout();
        warn_of_too_many_connections(&config, &servers, &facts);

        let mut observers: Vec<Arc<dyn Observe>> = vec![Arc::new(signals.clone())];
        observers.append(&mut wants.observers);
        let on_connect = std::mem::take(&mut wants.on_connect);
        let on_checkout = std::mem::take(&mut wants.on_checkout);
        let direct = Connector::new(config.direct_url.clone(), config.connect.clone());
        let (nodes, opened) = (servers.nodes().cloned().collect::<Vec<_>>(), Arc::clone(&servers));
        let known = Arc::clone(&servers);
        // Monitors log in as the pools do, but are not observed: their own failures must not raise the alarm.
        let watch = move |endpoint: &Endpoint| servers.connector(endpoint).clone();
        #[cfg(feature = "otel")]
        let meter = Arc::new(OnceLock::new());
        let open = {
            #[cfg(feature = "otel")]
            let meters: Arc<OnceLock<opentelemetry::metrics::Meter>> = Arc::clone(&meter);
            let (servers, writes, reads) = (opened, config.pool.clone(), config.read_pool.clone());
            move |endpoint: &Endpoint, purpose: Purpose| {
                let connector = servers
                    .connector(endpoint)
                    .clone()
                    .observed_by(observers.clone())
                    .on_connect(on_connect.clone())
                    .on_checkout(on_checkout.clone());
                let (connector, pool) = match purpose {
                    Purpose::Plain => (connector, servers.plain_pool(endpoint, &writes, &reads)),
                    // With standbys the primary answers few reads: nothing is kept open for them.
                    Purpose::ReadOnly => (connector.read_only(), PoolConfig { min: 0, ..reads.clone() }),
                };
                let pool = Pool::open(connector, endpoint.clone(), pool);
                #[cfg(feature = "otel")]
                if let Some(meter) = meters.get() {
                    pool.observe_with(meter, name_of(&pool, purpose));
                }
                pool
            }
        };
        let router = Arc::new(Router::start(nodes, open, watch, config.router.clone(), signals));
        #[cfg(feature = "monitoring")]
        let _ = watched.router.set(Arc::downgrade(&router));
        if !config.patroni.is_empty() {
            router.follow_patroni(config.patroni);
        }
        router.settle(PATIENCE).await;
        // The server ends a statement at its timeout; where it does not, it has stopped, and the caller must
        // not wait for it.
        let read_timeout = statement_timeout.map(|timeout| timeout.saturating_add(PATIENCE));
        let retry = Retry::new(RetryConfig { read_timeout, statement_timeout, ..config.retry });
        let breakers = config.breaker.map(|breaker| Arc::new(Breakers::new(&router, &breaker)));
        #[cfg(any(feature = "migrations", feature = "report"))]
        let direct_again = direct.clone();
        let standing = Standing { servers: known, direct, look: look_at(&router) };
        let parts = match wants.start(&standing, PATIENCE).await {
            Ok(parts) => Arc::new(parts),
            Err(error) => {
                let _ = close(&router, Duration::ZERO).await;
                return Err(error);
            }
        };
        #[cfg(feature = "monitoring")]
        let _ = watched.parts.set(Arc::downgrade(&parts));
        Ok(Db {
            router,
            parts,
            retry,
            breakers,
            timeout: None,
            session: None,
            writes: Arc::default(),
            lost_writes: LostWrites::watched_in(config.environment),
            #[cfg(feature = "monitoring")]
            monitor,
            #[cfg(feature = "monitoring")]
            watched,
            #[cfg(feature = "alerts")]
            alerts,
            #[cfg(all(feature = "collector", feature = "insight"))]
            insights,
            #[cfg(any(feature = "migrations", feature = "report"))]
            direct: direct_again,
            #[cfg(feature = "migrations")]
            ledger_schema: config.ledger_schema.map(Into::into),
            #[cfg(feature = "maintenance")]
            upkeep,
            #[cfg(all(feature = "monitoring", feature = "otel"))]
            namespace: config.url.database().into(),
            #[cfg(feature = "cache")]
            cache: None,
            #[cfg(feature = "cache")]
            is_pooled: false,
            #[cfg(feature = "otel")]
            meter,
        })
    }
}

/// Tells how busy the router's pools are, once there is one, and keeps none alive.
#[cfg(feature = "monitoring")]
fn look_at_pools(watched: &Arc<Watched>) -> db_monitoring::LookAtPools {
    let watched = Arc::clone(watched);
    let load = |purpose, pool: &Pool| {
        let status = pool.status();
        db_monitoring::PoolLoad {
            name: name_of(pool, purpose),
            in_use: status.in_use(),
            max: status.max,
            waiting: status.waiting,
        }
    };
    Arc::new(move || {
        let router = watched.router.get().and_then(Weak::upgrade);
        router.map(|router| router.sources(load)).unwrap_or_default()
    })
}

/// What tells a pool apart from the process's others.
#[cfg(any(feature = "monitoring", feature = "otel"))]
pub(super) fn name_of(pool: &Pool, purpose: Purpose) -> String {
    match purpose {
        Purpose::Plain => pool.endpoint().to_string(),
        Purpose::ReadOnly => format!("{} read-only", pool.endpoint()),
    }
}

/// Tells which servers are known now, and keeps no router alive: a part's observer may hold it.
fn look_at(router: &Arc<Router<Pool>>) -> Arc<dyn Fn() -> Vec<Server> + Send + Sync> {
    let router = Arc::downgrade(router);
    Arc::new(move || {
        let nodes = router.upgrade().map(|router| router.topology().nodes).unwrap_or_default();
        let server =
            |node: NodeStatus| Server { is_up: node.is_up(), endpoint: node.endpoint, role: node.role };
        nodes.into_iter().map(server).collect()
    })
}

fn warn_of_too_many_connections(config: &Config, servers: &Servers, facts: &ServerFacts) {
    let most = most_connections(config, servers);
    let limit = usize::try_from(facts.max_connections).unwrap_or(0);
    if most * 5 > limit * 4 {
        tracing::warn!(
            most,
            max_connections = limit,
            "this process alone could take more than 80 % of a server's connections: lower DB_POOL_MAX and DB_READ_POOL_MAX"
        );
    }
}

/// The most connections that one server may get from us: it is the primary, or becomes it, and answers reads
/// as well.
fn most_connections(config: &Config, servers: &Servers) -> usize {
    let (writes, reads) = (config.pool.max.get(), config.read_pool.max.get());
    let plain = if servers.are_several() || !config.patroni.is_empty() { writes.max(reads) } else { writes };
    #[cfg(feature = "collector")]
    let collector = if super::collected::is_wanted(&config.monitoring) { 2 } else { 0 };
    #[cfg(not(feature = "collector"))]
    let collector = 0;
    // And the monitor's own.
    plain + reads + 1 + collector
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::Environment;
    use std::num::NonZeroUsize;

    #[test]
    fn a_server_that_serves_both_kinds_of_work_has_both_pools() {
        let check = |read_urls: &[&str], writes, reads, expected| {
            let mut config = Config::new(Environment::Test, "postgres://ann@a/app".parse().unwrap());
            config.read_urls = read_urls.iter().map(|url| url.parse().unwrap()).collect();
            let size = |most| NonZeroUsize::new(most).unwrap();
            (config.pool.max, config.read_pool.max) = (size(writes), size(reads));
            assert_eq!(most_connections(&config, &Servers::of(&config)), expected);
        };
        check(&[], 10, 20, 31);
        check(&["postgres://ann@b/app"], 10, 5, 16);
        check(&["postgres://ann@b/app"], 10, 20, 41);
    }
}
