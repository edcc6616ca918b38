//! Whether a command may destroy data: what APP_ENV names decides; where it names nothing, a person at the
//! terminal.
//!
//! A setting that is missing allows nothing. Nobody can tell an unlabelled development database from an
//! unlabelled production, so the person says which it is by typing the database's name.

use std::io::{IsTerminal, Write};

use db_platform::{Config, Environment};
use tokio::sync::oneshot;

use crate::error::CliError;

/// The environment that was named, or development if a person says so. `does` is what the command does to the
/// data.
pub(crate) async fn environment(config: &Config, does: &'static str) -> Result<Environment, CliError> {
    if let Some(environment) = config.named_environment {
        return Ok(environment);
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(CliError::NoEnvironment { does });
    }
    let url = &config.direct_url;
    let hosts: Vec<String> = url.hosts().iter().map(ToString::to_string).collect();
    let (database, hosts) = (url.database(), hosts.join(","));
    eprint!(
        "APP_ENV is not set, and this {does}.\nIf the database {database} on {hosts} is for development, \
         type its name: "
    );
    let _ = std::io::stderr().flush();
    if answer().await.trim() == database {
        Ok(Environment::Development)
    } else {
        Err(CliError::NotConfirmed { does })
    }
}

/// A line from the terminal. It is read on a thread that nobody waits for at the end, so that Ctrl-C ends the
/// command.
async fn answer() -> String {
    let (said, heard) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // What cannot be read confirms nothing.
        let _ = std::io::stdin().read_line(&mut line);
        let _ = said.send(line);
    });
    heard.await.unwrap_or_default()
}
