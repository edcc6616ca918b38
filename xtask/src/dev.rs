//! The development cluster, as several commands need it.

use std::process::Command;

use db_server::{DevCluster, DevDown, DevState, Place};

use crate::failure::{Failure, Result};
use crate::{children, say};

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

/// Aims a program at the database that DATABASE_URL names, else at the development cluster and at nothing
/// else.
///
/// Only of the development cluster is it known that its data may go: APP_ENV says so. Of another database its
/// owner must.
pub(crate) fn aim(command: &mut Command) -> Result<&mut Command> {
    if std::env::var("DATABASE_URL").is_ok_and(|url| !url.is_empty()) {
        return Ok(command);
    }
    Ok(children::without_databases(command).envs(running()?.environment()).env("APP_ENV", "development"))
}

/// Says what was stopped.
pub(crate) fn tell(down: &DevDown) {
    for server in &down.ended {
        say::note(&format!("stopped {server}"));
    }
    if let Some(file) = &down.forgotten {
        say::note(&format!("removed {}, which could not be read", file.display()));
    }
}

/// Prints the settings as a `.env` file holds them.
pub(crate) fn print(state: &DevState) {
    for (name, value) in state.environment() {
        say::result(&format!("{name}={value}"));
    }
}
