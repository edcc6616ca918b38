//! Looks at a server for `serve`, `report`, `top` and `mcp`: on connections of its own, past any pooler.

use std::sync::Arc;
use std::time::Duration;

use db_platform::monitoring::server::{Collector, CollectorConfig, Databases, OpenConnection};
use db_platform::pool::{ConnectConfig, Connector};

use crate::args::Options;
use crate::connect;
use crate::error::CliError;

/// How connections are opened: to the primary, or to the only server.
pub(crate) fn open(options: &Options) -> Result<OpenConnection, CliError> {
    let config = connect::config(options)?;
    let connect = ConnectConfig { application_name: Some("dbctl".to_owned()), ..config.connect.clone() };
    let direct = Connector::new(config.direct_url.clone(), connect);
    Ok(Arc::new(move |database| {
        let direct = direct.clone();
        Box::pin(async move {
            let primary = db_platform::primary_of(&direct).await?;
            let conn = match database {
                None => direct.connect(&primary).await?,
                Some(database) => {
                    let url = direct.url().clone().with_database(&database);
                    Connector::new(url, direct.config().clone()).connect(&primary).await?
                }
            };
            Ok((primary, conn))
        })
    }))
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
    let config = CollectorConfig { databases, periods, one_leader: false };
    Ok(Collector::new(open(options)?, config))
}
