//! Whether a command may destroy data: what APP_ENV names decides; where it names nothing, a person at the
//! terminal.
//!
//! A setting that is missing allows nothing. Nobody can tell an unlabelled development database from an
//! unlabelled production, so the person says which it is by typing the database's name.

use db_platform::{Config, Environment};

use crate::ask;
use crate::error::CliError;

/// The environment that was named, or development if a person says so. `does` is what the command does to the
/// data.
pub(crate) async fn environment(config: &Config, does: &'static str) -> Result<Environment, CliError> {
    if let Some(environment) = config.named_environment {
        return Ok(environment);
    }
    if !ask::somebody() {
        return Err(CliError::NoEnvironment { does });
    }
    let url = &config.direct_url;
    let hosts: Vec<String> = url.hosts().iter().map(ToString::to_string).collect();
    let (database, hosts) = (url.database(), hosts.join(","));
    let question = format!(
        "APP_ENV is not set, and this {does}.\nIf the database {database} on {hosts} is for development, \
         type its name: "
    );
    if ask::text(&question).await == database {
        Ok(Environment::Development)
    } else {
        Err(CliError::NotConfirmed { does })
    }
}
