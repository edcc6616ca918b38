//! The development cluster, as several commands need it.

use db_server::{DevCluster, DevState, Place};

use crate::failure::{Failure, Result};
use crate::say;

/// The cluster of this workspace, running or not.
pub(crate) fn cluster() -> Result<DevCluster> {
    Ok(DevCluster::of(&Place::here()?))
}

/// Its state, if it runs.
pub(crate) fn running() -> Result<DevState> {
    let state = cluster()?.state()?.filter(DevState::is_up);
    state.ok_or_else(|| {
        Failure::said("the development cluster is not running: start it with `cargo xtask up`")
    })
}

/// The database to work on: the one that the environment names, else the development cluster's.
pub(crate) fn settings() -> Result<Vec<(&'static str, String)>> {
    if std::env::var("DATABASE_URL").is_ok_and(|url| !url.is_empty()) {
        return Ok(Vec::new());
    }
    Ok(running()?.environment())
}

/// Prints the settings as a `.env` file holds them.
pub(crate) fn print(state: &DevState) {
    for (name, value) in state.environment() {
        say::result(&format!("{name}={value}"));
    }
}
