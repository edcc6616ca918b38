//! The command line of `dbctl maintain compact`.

use std::time::Duration;

use db_platform::maintenance::TableName;
use db_platform::maintenance::compact::CompactConfig;

#[derive(clap::Args)]
pub(crate) struct Compact {
    /// The table with its schema, as in public.orders.
    pub(crate) table: TableName,
    /// Print its sizes and what forbids it; change nothing.
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) plan: bool,
    /// How long it may take, in minutes; without it, as long as it takes.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// Go on although standbys have readers: where the end is cut off, those of the table are cancelled after
    /// max_standby_streaming_delay.
    #[arg(long)]
    cancel_standby_readers: bool,
    /// Move rows, also where the server has REPACK (CONCURRENTLY).
    #[arg(long)]
    move_rows: bool,
    /// Do not look how far behind standbys are.
    #[arg(long)]
    ignore_lag: bool,
    /// Do not pause while statements take longer than before it began.
    #[arg(long)]
    ignore_latency: bool,
    /// An owner whose tables a superuser may work on; may be given several times.
    #[arg(long, value_name = "ROLE")]
    trusted_owner: Vec<String>,
}

impl Compact {
    pub(crate) fn config(&self) -> CompactConfig {
        let mut config = CompactConfig {
            budget: self.budget.map(|minutes| Duration::from_secs(u64::from(minutes) * 60)),
            repack: !self.move_rows,
            cancel_standby_readers: self.cancel_standby_readers,
            trusted_owners: self.trusted_owner.clone(),
            ..CompactConfig::default()
        };
        if self.ignore_lag {
            config.throttle.max_lag = None;
        }
        if self.ignore_latency {
            config.throttle.max_slowdown = None;
        }
        config
    }
}
