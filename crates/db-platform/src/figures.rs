//! The figures of one `Db` as one value: what this process measures, and what the server told its collector
//! last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::Role;
use db_pool::Status;
use db_replica_routing::Topology;
use serde::Serialize;

use crate::watched::Watched;

/// The figures of a [`Db`](crate::Db): what this process measures, and what the server told last. Rates are
/// those of the last minute. In JSON times are seconds and shares go from 0 to 1; what is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// The share of the fullest pool's connections that are in use.
    pub pool_usage: f64,
    /// Callers that wait for a connection.
    pub waiting: usize,
    /// Connections that this process has open.
    pub open_connections: usize,
    /// How long a statement takes on average, in seconds.
    pub mean_query_seconds: Option<f64>,
    /// Statements a second.
    pub queries_per_second: f64,
    /// Statements of the last hour, or since the start.
    pub queries_last_hour: u64,
    /// Of these, those that were slow.
    pub slow_queries_last_hour: u64,
    /// The share of statements that fail.
    pub error_rate: Option<f64>,
    /// The share of reads that the cache answers.
    pub cache_hit_rate: Option<f64>,
    /// How far each standby is behind, in seconds; null where that is not known.
    pub lag_seconds: BTreeMap<String, Option<f64>>,
    /// What the server told its collector; none where there is no collector
    /// ([`Db::collector`](crate::Db::collector)) or the server has not answered.
    pub server: Option<ServerFigures>,
}

/// What the server told its collector last.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct ServerFigures {
    /// How old the youngest of these figures is, in seconds.
    pub age_seconds: Option<f64>,
    /// The databases' size, in bytes.
    pub size_bytes: Option<i64>,
    /// Sessions of clients, whoever they are.
    pub connections: Option<usize>,
    /// Locks that are held.
    pub locks: Option<i64>,
    /// Locks that somebody waits for.
    pub locks_awaited: Option<i64>,
    /// Deadlocks since statistics were reset.
    pub deadlocks: Option<i64>,
    /// The share of blocks that were found in shared buffers, since statistics were reset.
    pub buffer_hit_ratio: Option<f64>,
}

impl Metrics {
    pub(crate) fn of(
        monitor: &db_monitoring::Monitor,
        watched: &Arc<Watched>,
        topology: &Topology,
        pools: &[Status],
    ) -> Self {
        let recent = monitor.recent();
        let usage = |pool: &Status| share(pool.in_use() as u64, pool.max as u64).unwrap_or(0.0);
        let standbys = topology.nodes.iter().filter(|node| node.role == Some(Role::Standby));
        Metrics {
            pool_usage: pools.iter().map(usage).fold(0.0, f64::max),
            waiting: pools.iter().map(|pool| pool.waiting).sum(),
            open_connections: pools.iter().map(|pool| pool.open).sum(),
            mean_query_seconds: recent.minute.mean().as_ref().map(Duration::as_secs_f64),
            queries_per_second: recent.minute.per_second(),
            queries_last_hour: recent.hour.statements,
            slow_queries_last_hour: recent.hour.slow,
            error_rate: recent.minute.error_rate(),
            cache_hit_rate: watched.cache_reads(Instant::now()).and_then(|(asked, hits)| share(hits, asked)),
            lag_seconds: standbys
                .map(|node| (node.endpoint.to_string(), node.lag.as_ref().map(Duration::as_secs_f64)))
                .collect(),
            #[cfg(feature = "collector")]
            server: watched.collected.get().and_then(|one| of_server(&one.collector.latest())),
            #[cfg(not(feature = "collector"))]
            server: None,
        }
    }
}

#[cfg(feature = "collector")]
fn of_server(snapshot: &db_monitoring::server::Snapshot) -> Option<ServerFigures> {
    snapshot.server.get().ok()?;
    let locks = |granted: bool| {
        let all = snapshot.locks.get().ok()?;
        Some(all.iter().filter(|lock| lock.granted == granted).map(|lock| lock.count).sum())
    };
    let databases = snapshot.databases.get().ok();
    let sum = |of: fn(&db_monitoring::server::DatabaseStats) -> i64| {
        databases.map(|all| all.iter().map(of).sum::<i64>())
    };
    let (hit, read) = (sum(|one| one.blks_hit), sum(|one| one.blks_read));
    let blocks = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    let sizes = snapshot.database_sizes.get().ok();
    Some(ServerFigures {
        age_seconds: snapshot.activity.age(std::time::SystemTime::now()).map(|age| age.as_secs_f64()),
        size_bytes: sizes.map(|all| all.iter().filter_map(|one| one.bytes).sum()),
        connections: snapshot.activity.get().ok().map(Vec::len),
        locks: locks(true),
        locks_awaited: locks(false),
        deadlocks: sum(|one| one.deadlocks.unwrap_or(0)),
        buffer_hit_ratio: blocks(hit)
            .zip(blocks(read))
            .and_then(|(hit, read)| share(hit, hit.saturating_add(read))),
    })
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
