//! Asks one node, again and again, whether it is alive, what its role is, and how far behind it is.
//!
//! Each node has one task with one connection of its own and a hard deadline per probe. A probe that fails, for
//! whatever reason, means that the node is down until one succeeds.

use std::sync::Arc;
use std::time::Duration;

use db_core::{Connect, Error, Result, Role};
use diesel::sql_types::{Bool, Double, Nullable};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::alarm::LinkAlarm;
use crate::config::RouterConfig;
use crate::node::{Node, Seen};

/// Lag in seconds; NULL where it is unknown.
///
/// `now() - pg_last_xact_replay_timestamp()` alone would call an idle primary's standby stale: where everything that
/// was received is replayed, and the receiver is connected, the lag is nothing. Source: the PostgreSQL manual,
/// "Recovery Information Functions" and `pg_stat_wal_receiver`.
const PROBE: &str = "SELECT pg_is_in_recovery() AS in_recovery, CASE \
    WHEN NOT pg_is_in_recovery() THEN 0 \
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() \
        AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0 \
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) \
    END::float8 AS lag_seconds";

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    in_recovery: bool,
    #[diesel(sql_type = Nullable<Double>)]
    lag_seconds: Option<f64>,
}

pub(crate) struct Monitor<A, C> {
    pub(crate) node: Arc<Node<A>>,
    pub(crate) connect: C,
    pub(crate) config: RouterConfig,
    pub(crate) alarm: LinkAlarm,
}

impl<A, C: Connect> Monitor<A, C> {
    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let mut conn = None;
        loop {
            let probed = tokio::time::timeout(self.config.probe_timeout, self.probe(&mut conn)).await;
            let seen = match probed {
                Ok(Ok(seen)) => seen,
                Ok(Err(error)) => self.went_wrong(&mut conn, &error),
                Err(_) => {
                    self.went_wrong(&mut conn, &Error::DeadlineExceeded { waited: self.config.probe_timeout })
                }
            };
            self.record(seen);
            tokio::select! {
                () = self.alarm.raised() => {}
                () = tokio::time::sleep(self.config.probe_interval) => continue,
            }
            // The alarm may be another node's, and may ring often: a short pause bounds the probes.
            tokio::time::sleep(self.config.probe_interval / 10).await;
        }
    }

    async fn probe(&self, conn: &mut Option<AsyncPgConnection>) -> Result<Seen> {
        let conn = match conn {
            Some(conn) => conn,
            None => conn.insert(self.connect.connect(&self.node.endpoint).await?),
        };
        let Answer { in_recovery, lag_seconds } = sql_query(PROBE).get_result(conn).await?;
        let role = if in_recovery { Role::Standby } else { Role::Primary };
        let lag = lag_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        Ok(Seen::Up { role, lag })
    }

    fn went_wrong(&self, conn: &mut Option<AsyncPgConnection>, error: &Error) -> Seen {
        *conn = None;
        tracing::debug!(endpoint = %self.node.endpoint, %error, "probe failed");
        Seen::Down
    }

    /// Publishes what was seen, and logs a change of state once.
    fn record(&self, seen: Seen) {
        let before = self.node.seen.send_replace(seen);
        let endpoint = &self.node.endpoint;
        match (before, seen) {
            (Seen::Down, Seen::Up { role, .. }) => tracing::info!(%endpoint, %role, "node is up"),
            (Seen::Up { .. }, Seen::Down) => tracing::warn!(%endpoint, "node is down"),
            (Seen::Up { role: old, .. }, Seen::Up { role, .. }) if old != role => {
                tracing::warn!(%endpoint, %role, "node changed its role");
            }
            _ => {}
        }
    }
}
