//! What alerts look at, and whom they tell: the pools, the servers, the statements and the checks of one
//! `Db`.

use std::sync::Arc;
use std::time::Instant;

use db_core::{Error, Part, Result, Role};
use db_monitoring::alerts::{AlertChannel, Alerts, Beat, Evaluate, Evaluation, Readings, of_checks};
use db_monitoring::{LookAtPools, Monitor};
use db_notify::NotifyConfig;
use db_replica_routing::NodeStatus;

use crate::config::Config;
use crate::watched::Watched;

/// What alerts look at.
pub(crate) struct Looks {
    pub(crate) monitor: Monitor,
    pub(crate) pools: LookAtPools,
    pub(crate) watched: Arc<Watched>,
}

/// The alerts of this configuration; none where nobody is to be told.
///
/// # Errors
/// Where a channel's address is not understood; it is not quoted.
pub(crate) fn of(config: &Config) -> Result<Option<Alerts>> {
    if !config.alerts.enabled || !config.monitoring.enabled {
        return Ok(None);
    }
    let invalid = |error| Error::Client(Box::new(error));
    let channels = config.notifications.channels().map_err(invalid)?;
    let heartbeat = config.notifications.heartbeat().map_err(invalid)?.map(Arc::new);
    if channels.is_empty() && heartbeat.is_none() {
        return Ok(None);
    }
    let mut named: Vec<AlertChannel> = Vec::new();
    for (channel, least) in channels {
        let (name, mut place) = (channel.name().to_owned(), 1);
        let mut unique = name.clone();
        while named.iter().any(|known| known.name == unique) {
            place += 1;
            unique = format!("{name} {place}");
        }
        named.push(AlertChannel { name: unique, channel, least });
    }
    let beat = heartbeat.map(|heartbeat| -> Beat {
        Arc::new(move |gravest| {
            let heartbeat = Arc::clone(&heartbeat);
            Box::pin(async move { heartbeat.beat(gravest).await })
        })
    });
    Ok(Some(Alerts::new(config.alerts.clone(), NotifyConfig::default(), named, beat)))
}

/// The part that looks.
pub(crate) fn part(alerts: &Alerts, looks: Looks) -> Part {
    let config = alerts.config().clone();
    let evaluate: Evaluate = Arc::new(move || {
        let recent = looks.monitor.recent().minute;
        let topology = looks.watched.topology();
        let nodes = topology.as_ref().map(|topology| &topology.nodes[..]).unwrap_or_default();
        let lag = |node: &NodeStatus| (node.endpoint.to_string(), node.lag);
        let readings = Readings {
            pools: (looks.pools)(),
            statements: recent.statements,
            failed: recent.failed,
            mean: recent.mean(),
            cache: looks.watched.cache_reads(Instant::now()),
            lag: nodes.iter().filter(|node| node.role == Some(Role::Standby)).map(lag).collect(),
            servers: nodes.iter().map(|node| (node.endpoint.to_string(), node.is_up())).collect(),
            has_writer: topology.as_ref().is_some_and(|topology| topology.writer.is_some()),
        };
        let own = readings.of(&config);
        if looks.watched.leaves_it_to_another() {
            // What the parts of this process say is known to this process alone.
            let of_parts = of_checks(&looks.watched.part_checks());
            return Evaluation { own: own.into_iter().chain(of_parts).collect(), checks: None };
        }
        Evaluation { own, checks: looks.watched.checks() }
    });
    alerts.part(evaluate)
}
