//! Makes a bloated table small again beside the application: REPACK (CONCURRENTLY) where the server has it,
//! and else rows of its last pages move to free room at its front.
//!
//! A row moves by an update that changes nothing. So it is done only where nobody would see such an update:
//! no trigger, no rule, no publication. Then VACUUM cuts the empty end off. Each transaction takes some 50
//! ms and waits for nobody; whatever ends it, the table is whole.

mod disk;
mod preflight;
mod repack;
mod run;

use std::time::Duration;

use db_throttle::ThrottleConfig;

pub use preflight::CompactPlan;
pub use run::{CompactProgress, Compacted};

use crate::name::TableName;

/// How a table is compacted.
///
/// ```
/// use db_maintenance::compact::CompactConfig;
///
/// let config = CompactConfig::default();
/// assert!(config.budget.is_none() && !config.cancel_standby_readers);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CompactConfig {
    /// The size of transactions and the pauses between them.
    pub throttle: ThrottleConfig,
    /// Between two probes.
    pub probe_interval: Duration,
    /// How long it may take; none takes its time. What was moved stays moved.
    pub budget: Option<Duration>,
    /// How often it goes through the table's end: rows that were locked, or that came meanwhile, need
    /// another time.
    pub passes: u32,
    /// Transactions older than this forbid it: nothing that they may see can be given back.
    pub oldest_snapshot: Duration,
    /// Use REPACK (CONCURRENTLY) where the server has it: PostgreSQL 19 and later. It needs room for a second
    /// copy of the table and its indexes, and whoever had a snapshot before it ended and reads the table
    /// only then sees it empty; moving rows needs neither.
    pub repack: bool,
    /// Go on although standbys have readers: the table's last step is a lock that standbys replay, and
    /// readers of the table there are cancelled after `max_standby_streaming_delay`.
    pub cancel_standby_readers: bool,
    /// Owners whose tables a superuser may work on: it runs the functions of their indexes.
    pub trusted_owners: Vec<String>,
}

impl Default for CompactConfig {
    fn default() -> Self {
        CompactConfig {
            throttle: ThrottleConfig::default(),
            probe_interval: Duration::from_millis(10),
            budget: None,
            passes: 6,
            oldest_snapshot: Duration::from_secs(300),
            repack: true,
            cancel_standby_readers: false,
            trusted_owners: Vec::new(),
        }
    }
}

/// Compaction of one table.
///
/// ```no_run
/// # async fn run(client: &mut tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use db_maintenance::compact::{Compact, CompactConfig};
///
/// let compact = Compact::new("public.orders".parse()?, CompactConfig::default());
/// let plan = compact.plan(client).await?;
/// println!("{} of {} bytes are live", plan.live_bytes, plan.bytes);
/// let done = compact.run(client, None, std::future::pending(), |_| ()).await?;
/// println!("{} bytes less", done.bytes_before - done.bytes_after);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Compact {
    pub(crate) table: TableName,
    pub(crate) config: CompactConfig,
}

impl Compact {
    /// Compaction of this table.
    pub fn new(table: TableName, config: CompactConfig) -> Self {
        Compact { table, config }
    }
}
