//! Looks at a server for `serve`, `report`, `top` and `mcp`: on connections of its own, past any pooler.

use std::time::Duration;

use db_platform::monitoring::server::{Collector, CollectorConfig, Databases, OpenConnection};

use crate::args::Options;
use crate::connect;
use crate::error::CliError;

/// How connections are opened: to the primary, or to the only server.
pub(crate) fn open(options: &Options) -> Result<OpenConnection, CliError> {
    Ok(connect::for_collector(&connect::config(options)?))
}

/// A collector that has not begun. It looks whether or not another process does: its person asked for it.
pub(crate) fn collector(
    options: &Options,
    all_databases: bool,
    periods: Option<[Duration; 5]>,
) -> Result<Collector, CliError> {
    let databases = if all_databases { Databases::All } else { Databases::Own };
    let default = CollectorConfig::default();
    let periods = periods.unwrap_or(default.periods);
    let config = CollectorConfig { databases, periods, one_leader: false, ..default };
    Ok(Collector::new(open(options)?, config))
}
