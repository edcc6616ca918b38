//! Which server a figure is of: a figure of one server says nothing about another, nor about the same one
//! after a failover.

use db_core::Endpoint;
use serde::{Serialize, Serializer};

use crate::server::record::record;

/// What a server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerRole {
    /// It takes writes.
    Primary,
    /// It replays the log of another server.
    Standby,
}

impl ServerRole {
    /// The name in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerRole::Primary => "primary",
            ServerRole::Standby => "standby",
        }
    }
}

/// Which server it is, and since when.
///
/// ```
/// use db_core::Endpoint;
/// use db_monitoring::server::{ServerIdentity, ServerRole};
///
/// let before = ServerIdentity::new(Endpoint::new("db", 5432), ServerRole::Standby);
/// let after = ServerIdentity { role: ServerRole::Primary, ..before.clone() };
/// assert!(!before.continues(&after)); // it was promoted: counters of before and after are no series
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerIdentity {
    /// Where it was asked.
    #[serde(serialize_with = "as_text")]
    pub endpoint: Endpoint,
    /// The cluster that it belongs to; the same on all its standbys. As text, because JSON's numbers are
    /// too short.
    pub system_identifier: Option<String>,
    /// Its role.
    pub role: ServerRole,
    /// The history that its log belongs to; each promotion begins one.
    pub timeline: Option<i64>,
    /// The version as it says it, such as `18.6`.
    pub version: String,
    /// The version as a number, such as 180006.
    pub version_num: i64,
    /// When it was started, in seconds since 1970 by its own clock.
    pub started: Option<f64>,
    /// How far its clock is ahead of ours, in seconds, give or take a round trip.
    pub clock_ahead: f64,
    /// The size of a page in bytes.
    pub block_size: i64,
}

impl ServerIdentity {
    /// A server of which no more is known.
    pub fn new(endpoint: Endpoint, role: ServerRole) -> Self {
        ServerIdentity {
            endpoint,
            system_identifier: None,
            role,
            timeline: None,
            version: String::new(),
            version_num: 0,
            started: None,
            clock_ahead: 0.0,
            block_size: 8_192,
        }
    }

    /// Whether `later` is the same server in the same life: what was counted goes on.
    ///
    /// A standby's timeline may change under it when its primary was replaced: its own counters go on all
    /// the same.
    pub fn continues(&self, later: &ServerIdentity) -> bool {
        let same_start = match (self.started, later.started) {
            // It is stored in microseconds, and read as a double.
            (Some(before), Some(after)) => (before - after).abs() < 0.001,
            (before, after) => before == after,
        };
        self.system_identifier == later.system_identifier && self.role == later.role && same_start
    }
}

fn as_text<S: Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(endpoint)
}

record! {
    /// What a server tells of itself.
    pub(crate) struct IdentityRow: "", "(SELECT pg_is_in_recovery() AS r) AS s" {
        in_recovery: bool, as "s.r", from [];
        system_identifier: Option<String>, as "(SELECT system_identifier FROM \
            pg_control_system())", from ["can:pg_control_system"];
        /// A primary's is in the name of its log file, because the control file's is stale after a promotion.
        current_timeline: Option<i64>, as "CASE WHEN NOT s.r THEN ('x' || \
            left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32) END",
            from ["can:pg_walfile_name"];
        streamed_timeline: Option<i64>, as "(SELECT received_tli FROM pg_stat_wal_receiver)", from [];
        checkpoint_timeline: Option<i64>, as "(SELECT timeline_id FROM \
            pg_control_checkpoint())", from ["can:pg_control_checkpoint"];
        version: String, as "current_setting('server_version')", from [];
        version_num: i64, as "current_setting('server_version_num')", from [];
        block_size: i64, as "current_setting('block_size')", from [];
        started: Option<f64>, as "date_part('epoch', \
            pg_postmaster_start_time())", from ["can:pg_postmaster_start_time"];
        now: f64, as "date_part('epoch', clock_timestamp())", from [];
    }
}

impl IdentityRow {
    pub(crate) fn at(self, endpoint: Endpoint, ours: f64) -> ServerIdentity {
        let role = if self.in_recovery { ServerRole::Standby } else { ServerRole::Primary };
        let standby = [self.streamed_timeline, self.checkpoint_timeline].into_iter().flatten().max();
        ServerIdentity {
            endpoint,
            system_identifier: self.system_identifier,
            role,
            timeline: self.current_timeline.or(standby),
            version: self.version,
            version_num: self.version_num,
            started: self.started,
            clock_ahead: self.now - ours,
            block_size: self.block_size,
        }
    }
}
