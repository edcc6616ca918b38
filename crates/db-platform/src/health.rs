//! Whether the database answers, as a value that a health endpoint can print.

use std::fmt;
use std::time::Duration;

use db_core::Condition;
use db_pool::Status;
use db_replica_routing::Topology;

use crate::parts::PartStatus;

/// How the database is, as far as this process can tell.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// The verdict.
    pub condition: Condition,
    /// How long the primary took to answer, or what it said instead. Never a password.
    pub primary: Result<Duration, String>,
    /// The servers.
    pub topology: Topology,
    /// The pools.
    pub pools: Vec<Status>,
    /// The parts that siblings attached.
    pub parts: Vec<PartStatus>,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.condition)?;
        match &self.primary {
            Ok(elapsed) => writeln!(f, "primary answered in {elapsed:?}")?,
            Err(error) => writeln!(f, "primary: {error}")?,
        }
        write!(f, "{}", self.topology)?;
        for pool in &self.pools {
            let (open, idle, waiting) = (pool.open, pool.idle, pool.waiting);
            let waited = pool.wait_times.quantile(0.99);
            write!(
                f,
                "\npool of {}: {open} of {} open, {idle} idle, {waiting} waiting; 99 % waited at most {waited:.1?}",
                pool.endpoint, pool.max
            )?;
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
        Ok(())
    }
}
