//! Finds PostgreSQL's programs of one major version, and runs them as the account that owns the data.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::physical_error::PhysicalError;
use crate::restore::Owner;

/// The programs of one major version.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    bin: PathBuf,
}

impl Programs {
    /// The programs in `named`, else those that are installed, else fetched.
    pub(crate) fn find(major: u32, named: Option<&Path>) -> Result<Programs, PhysicalError> {
        if let Some(bin) = named {
            return Ok(Programs { bin: bin.to_owned() });
        }
        let missing = |reason: String| PhysicalError::NoPrograms { major, reason };
        let wanted = u16::try_from(major).map_err(|_| missing("no such version".to_owned()))?;
        let found = db_server::find(Some(wanted), &|line| tracing::info!("{line}"));
        found.map(|install| Programs { bin: install.bin }).map_err(|error| missing(error.to_string()))
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> &Path {
        &self.bin
    }

    /// A command for one of the programs, free of settings that the environment might hold for clients.
    pub(crate) fn command(&self, name: &str, owner: Option<Owner>) -> Command {
        let mut command = Command::new(self.bin.join(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(|variable| variable.starts_with("PG")) {
                command.env_remove(variable);
            }
        }
        command.env("LC_ALL", "C").current_dir("/");
        if let Some(owner) = owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    }
}

/// Runs a program to its end; what it printed, or the end of what it complained about.
pub(crate) async fn run(command: Command) -> Result<String, PhysicalError> {
    Ok(String::from_utf8_lossy(&output(command).await?.stdout).into_owned())
}

/// Runs a program to its end; the warnings that it gave.
pub(crate) async fn warnings(command: Command) -> Result<Vec<String>, PhysicalError> {
    let said = output(command).await?.stderr;
    let said = String::from_utf8_lossy(&said);
    Ok(said
        .lines()
        .filter_map(|line| line.split_once("warning: "))
        .map(|(_, what)| what.to_owned())
        .collect())
}

async fn output(mut command: Command) -> Result<Output, PhysicalError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = tokio::task::spawn_blocking(move || db_server::process::run(&mut command)).await;
    match ended {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(PhysicalError::Program { program, said: error.to_string() }),
        Err(_) => Err(PhysicalError::Program { program, said: "it was given up".to_owned() }),
    }
}
