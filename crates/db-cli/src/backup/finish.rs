//! `dbctl backup finish`, and `restore --wait`: which point a restored server has reached, and its settings tidied.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use db_platform::BackupDial;
use db_platform::backup::restore::{Reached, Tidied, reached, tidy};
use serde_json::json;

use crate::args::Options;
use crate::backup_args::Finish;
use crate::error::CliError;
use crate::{FOUND, connect, say};

pub(crate) async fn run(command: &Finish, options: &Options) -> Result<ExitCode, CliError> {
    let finished = once(&command.to, command.wait, options).await?;
    let value = json!({ "reached": finished.reached, "tidied": finished.tidied });
    say::result(options.json, &say::coloured(&finished.text()), &value);
    Ok(if finished.holds() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// A restore whose server has reached its target.
pub(super) struct Finished {
    pub(super) reached: Reached,
    /// What became of the restore's settings; none while the server waits at the target.
    pub(super) tidied: Option<Tidied>,
}

/// Waits for the server on a restored directory, and tidies its settings if it takes writes.
pub(super) async fn once(to: &Path, within: Duration, options: &Options) -> Result<Finished, CliError> {
    let login = connect::config(options)?.direct_url;
    let reached = reached(to, &login, &BackupDial, within).await?;
    let tidied = if reached.takes_writes { Some(tidy(to)?) } else { None };
    Ok(Finished { reached, tidied })
}

impl Finished {
    pub(super) fn text(&self) -> String {
        let Reached { position, newest_commit, timeline, .. } = &self.reached;
        let point = match position {
            Some(position) => format!("the log is replayed up to {position}"),
            None => "the target is reached".to_owned(),
        };
        let commit = newest_commit.map(|at| format!(", the newest commit is of {}", at.to_rfc3339()));
        let state = match timeline {
            Some(timeline) => format!("the server takes writes on timeline {timeline}"),
            None => {
                "the server waits there and answers reads: `SELECT pg_wal_replay_resume()` goes on".to_owned()
            }
        };
        let mut lines = vec![format!("{point}{}; {state}", commit.unwrap_or_default())];
        lines.extend(match &self.tidied {
            Some(Tidied::Removed) => Some("the settings of the restore are taken out".to_owned()),
            Some(Tidied::Rewritten(names)) => Some(format!(
                "wrong ALTER SYSTEM has rewritten postgresql.auto.conf, so nobody can tell whose these are: \
                 ALTER SYSTEM RESET each of {}",
                names.join(", ")
            )),
            Some(Tidied::Nothing) | None => None,
        });
        lines.join("\n")
    }

    /// Whether nothing is left to do by hand.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.tidied, Some(Tidied::Rewritten(_)))
    }
}
