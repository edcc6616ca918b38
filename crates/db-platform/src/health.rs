//! How the database is, as values that a health endpoint prints or writes as JSON; none of them asks a
//! server.

use std::fmt;
use std::time::Duration;

use db_core::Condition;
use db_pool::Status;
use db_replica_routing::{Purpose, Topology};
#[cfg(feature = "monitoring")]
use serde::Serialize;

use crate::parts::PartStatus;

/// How the database is, as far as this process knows: what its monitors, pools and parts saw last.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// The verdict.
    pub condition: Condition,
    /// How long the primary takes to answer its monitor, or why none does. Never a password.
    pub primary: Result<Duration, String>,
    /// The servers.
    pub topology: Topology,
    /// The pools.
    pub pools: Vec<PoolHealth>,
    /// The parts that siblings attached.
    pub parts: Vec<PartStatus>,
    /// What checks found, on the server and of the parts themselves; none where this process does not look at
    /// the server and no part checks itself.
    #[cfg(feature = "monitoring")]
    pub checks: Option<Vec<db_monitoring::CheckResult>>,
}

/// One pool: which it is, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolHealth {
    /// What it is for: `writes` and whatever else the server's role allows, or `reads on the primary`.
    pub purpose: &'static str,
    /// How it is.
    pub status: Status,
}

/// That this process is alive. It says nothing of the database: a process is not to be restarted because that
/// is down.
///
/// ```
/// use db_platform::{Db, Liveness};
///
/// let Liveness { up, .. } = Db::liveness();
/// assert!(up, "whoever answers is alive");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "monitoring", derive(Serialize))]
#[non_exhaustive]
pub struct Liveness {
    /// True: whoever answers is alive. A process whose threads are all blocked does not answer.
    pub up: bool,
}

impl PoolHealth {
    pub(crate) fn new(purpose: Purpose, status: Status) -> Self {
        let purpose = match purpose {
            Purpose::Plain => "writes",
            Purpose::ReadOnly => "reads on the primary",
        };
        PoolHealth { purpose, status }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.condition)?;
        match &self.primary {
            // It has not been asked often enough to have a mean.
            Ok(elapsed) if elapsed.is_zero() => writeln!(f, "the primary answers")?,
            Ok(elapsed) => writeln!(f, "the primary answers in {elapsed:.1?}")?,
            Err(error) => writeln!(f, "primary: {error}")?,
        }
        write!(f, "{}", self.topology)?;
        for PoolHealth { purpose, status: pool } in &self.pools {
            let (open, idle, waiting) = (pool.open, pool.idle, pool.waiting);
            write!(
                f,
                "\npool of {} ({purpose}): {open} of {} open, {idle} idle, {waiting} waiting",
                pool.endpoint, pool.max
            )?;
            // Whoever finds an idle connection waits for no time that would mean anything.
            match pool.wait_times.quantile(0.99) {
                _ if pool.wait_times.count() == 0 => {}
                waited if waited < Duration::from_micros(100) => f.write_str("; 99 % did not wait")?,
                waited => write!(f, "; 99 % waited at most {waited:.1?}")?,
            }
            for (count, what) in
                [(pool.timeouts, "timeouts"), (pool.connect_errors, "connect errors"), (pool.leaks, "leaks")]
            {
                if count > 0 {
                    write!(f, ", {count} {what}")?;
                }
            }
        }
        for PartStatus { name, health } in &self.parts {
            write!(f, "\n{name}: {health}")?;
        }
        #[cfg(feature = "monitoring")]
        for check in self.checks.iter().flatten().filter(|check| check.status.is_problem()) {
            write!(f, "\n{}: {}: {}", check.status.word(), check.title, check.summary)?;
        }
        Ok(())
    }
}

/// As it is in JSON: durations in seconds, servers as `host:port`.
#[cfg(feature = "monitoring")]
impl Serialize for Health {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::Health::of(self).serialize(serializer)
    }
}

#[cfg(feature = "monitoring")]
mod json {
    use super::{PoolHealth, Serialize, Status};
    use db_replica_routing::NodeStatus;

    #[derive(Serialize)]
    pub(super) struct Health<'a> {
        condition: String,
        primary_answers_in_seconds: Option<f64>,
        primary_trouble: Option<&'a str>,
        writer: Option<String>,
        servers: &'a [NodeStatus],
        pools: Vec<Pool<'a>>,
        parts: Vec<Part<'a>>,
        checks: Option<&'a [db_monitoring::CheckResult]>,
    }

    #[derive(Serialize)]
    struct Pool<'a> {
        server: String,
        purpose: &'a str,
        max: usize,
        open: usize,
        idle: usize,
        in_use: usize,
        waiting: usize,
        stalled: bool,
        timeouts: u64,
        connect_errors: u64,
        leaks: u64,
        waited_p99_seconds: f64,
    }

    #[derive(Serialize)]
    struct Part<'a> {
        part: &'a str,
        condition: String,
        detail: &'a str,
    }

    impl<'a> Health<'a> {
        pub(super) fn of(health: &'a super::Health) -> Self {
            Health {
                condition: health.condition.to_string(),
                primary_answers_in_seconds: health.primary.as_ref().ok().map(|took| took.as_secs_f64()),
                primary_trouble: health.primary.as_ref().err().map(String::as_str),
                writer: health.topology.writer.as_ref().map(ToString::to_string),
                servers: &health.topology.nodes,
                pools: health.pools.iter().map(pool).collect(),
                parts: health.parts.iter().map(part).collect(),
                checks: health.checks.as_deref(),
            }
        }
    }

    fn pool(PoolHealth { purpose, status }: &PoolHealth) -> Pool<'_> {
        let Status { max, open, idle, waiting, stalled, timeouts, connect_errors, leaks, .. } = *status;
        Pool {
            server: status.endpoint.to_string(),
            purpose,
            max,
            open,
            idle,
            in_use: status.in_use(),
            waiting,
            stalled,
            timeouts,
            connect_errors,
            leaks,
            waited_p99_seconds: status.wait_times.quantile(0.99).as_secs_f64(),
        }
    }

    fn part(part: &super::PartStatus) -> Part<'_> {
        let health = &part.health;
        Part { part: part.name, condition: health.condition.to_string(), detail: &health.detail }
    }
}
