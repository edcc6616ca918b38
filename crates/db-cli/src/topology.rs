//! `dbctl topology`.

use std::process::ExitCode;
use std::time::Duration;

use db_platform::replica_routing::NodeStatus;
use db_platform::{Db, Topology};
use serde_json::{Value, json};

use crate::args::Options;
use crate::connect;
use crate::error::CliError;
use crate::{FOUND, say};

/// How long to wait for what each node says the second time: lag is measured against what the primary said
/// before.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn run(options: &Options) -> Result<ExitCode, CliError> {
    let mut config = connect::config(options)?;
    config.cache = None;
    // Nobody is to be told anything by this one question.
    config.monitoring.enabled = false;
    // Past any pooler, and with the monitors' connections only.
    config.url = config.direct_url.clone();
    (config.pool.min, config.read_pool.min) = (0, 0);
    config.connect.application_name = Some("dbctl".to_owned());
    let db = Db::connect(config).await?;
    let _ = tokio::time::timeout(PATIENCE, asked_twice(&db)).await;
    let topology = db.topology();
    say::result(options.json, &topology.to_string(), &object(&topology));
    let is_well = topology.writer.is_some() && topology.nodes.iter().all(|node| node.is_up() && !node.fenced);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

async fn asked_twice(db: &Db) {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while db.topology().nodes.iter().any(|node| node.probes < 3) {
        looks.tick().await;
    }
}

fn object(topology: &Topology) -> Value {
    json!({
        "writer": topology.writer.as_ref().map(ToString::to_string),
        "conflict": topology.conflict,
        "nodes": topology.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

fn node(node: &NodeStatus) -> Value {
    json!({
        "endpoint": node.endpoint.to_string(),
        "zone": node.zone,
        "role": node.role.map(|role| role.to_string()),
        "timeline": node.timeline,
        "lag_seconds": node.lag.map(|lag| lag.as_secs_f64()),
        "lag_bytes": node.lag_bytes,
        "latency_seconds": node.latency.as_secs_f64(),
        "fenced": node.fenced,
        "withheld": node.withheld,
        "trouble": node.trouble,
    })
}
