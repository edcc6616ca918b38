//! `dbctl backup finish`, and `restore --wait`: which point a restored server has reached, and its settings
//! tidied.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use db_platform::BackupDial;
use db_platform::backup::PhysicalError;
use db_platform::backup::restore::{Reached, Risks, Tidied, reached, reload, risks, tidy};
use serde_json::json;

use crate::args::Options;
use crate::backup_args::Finish;
use crate::error::CliError;
use crate::{FOUND, connect, say};

pub(crate) async fn run(command: &Finish, options: &Options) -> Result<ExitCode, CliError> {
    let finished = once(&command.to, command.wait, options).await?;
    let value =
        json!({ "reached": finished.reached, "tidied": finished.tidied, "at_risk": finished.at_risk });
    say::result(options.json, &say::coloured(&finished.text()), &value);
    Ok(if finished.holds() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// A restore whose server has reached its target.
pub(super) struct Finished {
    pub(super) reached: Reached,
    /// What became of the restore's settings; none while the server waits at the target.
    pub(super) tidied: Option<Tidied>,
    /// Indexes that another library has sorted.
    pub(super) at_risk: Risks,
}

/// Waits for the server on a restored directory, and tidies its settings if it takes writes.
pub(super) async fn once(to: &Path, within: Duration, options: &Options) -> Result<Finished, CliError> {
    let login = connect::config(options)?.direct_url;
    let reached = reached(to, &login, &BackupDial, within).await?;
    let tidied = if reached.takes_writes { Some(tidy(to)?) } else { None };
    if tidied == Some(Tidied::Removed)
        && let Err(error) = reload(to, &login, &BackupDial).await
    {
        tracing::info!("the server keeps the settings of the restore until it is started again: {error}");
    }
    let unknown = |error: PhysicalError| Risks {
        not_looked: [("the server".to_owned(), error.to_string())].into(),
        ..Risks::default()
    };
    let at_risk = risks(to, &login, &BackupDial).await.unwrap_or_else(unknown);
    Ok(Finished { reached, tidied, at_risk })
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
        let Risks { indexes, not_looked } = &self.at_risk;
        lines.extend(indexes.iter().map(|index| format!("wrong {index}")));
        if !indexes.is_empty() {
            let then = "ALTER DATABASE … REFRESH COLLATION VERSION, ALTER COLLATION … REFRESH VERSION";
            lines.push(format!("once all of a database are made anew, there: {then}"));
        }
        lines.extend(not_looked.iter().map(|(database, why)| {
            format!("whether indexes of {database} must be made anew is not known: {why}")
        }));
        lines.join("\n")
    }

    /// Whether nothing is left to do by hand.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.tidied, Some(Tidied::Rewritten(_))) && self.at_risk.indexes.is_empty()
    }
}
