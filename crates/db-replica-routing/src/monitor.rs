//! Asks one node, again and again, whether it is alive, what its role is, and how far behind it is.
//!
//! Each node has one task with one connection of its own and a hard deadline per probe. A probe that fails, for
//! whatever reason, means that the node is down until one succeeds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Connect, Error, Lsn, Result, Role};
use diesel::sql_types::{Bool, Double, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::alarm::LinkAlarm;
use crate::config::RouterConfig;
use crate::node::{Node, Seen};
use crate::positions::{Behind, Positions};

/// The role, the log position (flushed on a primary, replayed on a standby), and what a standby itself can say of its lag
/// in seconds: since its last transaction, and whether it has replayed all that it received from a connected primary.
///
/// Source: the PostgreSQL manual, "Recovery Information Functions" and `pg_stat_wal_receiver`.
const PROBE: &str = "SELECT pg_is_in_recovery() AS in_recovery, \
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS position, \
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS age_seconds, \
    coalesce(pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn(), false) \
        AND EXISTS (SELECT FROM pg_stat_wal_receiver) AS has_all_received";

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    in_recovery: bool,
    #[diesel(sql_type = Nullable<Text>)]
    position: Option<String>,
    #[diesel(sql_type = Nullable<Double>)]
    age_seconds: Option<f64>,
    #[diesel(sql_type = Bool)]
    has_all_received: bool,
}

pub(crate) struct Monitor<A, C> {
    pub(crate) node: Arc<Node<A>>,
    pub(crate) connect: C,
    pub(crate) config: RouterConfig,
    pub(crate) alarm: LinkAlarm,
    pub(crate) positions: Arc<Positions>,
    pub(crate) configured: Role,
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
        let answer: Answer = sql_query(PROBE).get_result(conn).await?;
        let role = if answer.in_recovery { Role::Standby } else { Role::Primary };
        let position = answer.position.as_ref().and_then(|text| text.parse::<Lsn>().ok());
        if let (Role::Primary, Role::Primary, Some(position)) = (self.configured, role, position) {
            self.positions.record(position, Instant::now());
        }
        let lag = match role {
            Role::Primary => Some(Duration::ZERO),
            Role::Standby => position.and_then(|position| self.lag(position, &answer)),
        };
        Ok(Seen::Up { role, lag })
    }

    /// A standby's lag by the primary's positions; by its own clock where they do not reach.
    fn lag(&self, replayed: Lsn, answer: &Answer) -> Option<Duration> {
        let age = answer.age_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        match self.positions.behind(replayed, Instant::now()) {
            Behind::By(lag) => Some(lag),
            Behind::Beyond => age,
            Behind::Unknown if answer.has_all_received => Some(Duration::ZERO),
            Behind::Unknown => age,
        }
    }

    fn went_wrong(&self, conn: &mut Option<AsyncPgConnection>, error: &Error) -> Seen {
        *conn = None;
        if self.configured == Role::Primary {
            self.positions.forget();
        }
        if self.node.set_trouble(Some(error.to_string())).is_none() {
            tracing::warn!(endpoint = %self.node.endpoint, %error, "node does not answer");
        }
        Seen::Down
    }

    /// Publishes what was seen, and logs a change of state once.
    fn record(&self, seen: Seen) {
        let before = self.node.seen.send_replace(seen);
        if seen != Seen::Down {
            self.node.set_trouble(None);
        }
        let endpoint = &self.node.endpoint;
        match (before, seen) {
            (Seen::Down, Seen::Up { role, .. }) => tracing::info!(%endpoint, %role, "node is up"),
            (Seen::Up { role: old, .. }, Seen::Up { role, .. }) if old != role => {
                tracing::warn!(%endpoint, %role, "node changed its role");
            }
            _ => {}
        }
    }
}
