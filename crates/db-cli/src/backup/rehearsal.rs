//! `dbctl backup rehearse`.

use std::process::ExitCode;
use std::time::Duration;

use db_platform::backup::AuditAction;
use db_platform::backup::rehearse::{Check, Expect, Rehearsal, RehearseConfig, rehearse};
use serde_json::json;

use super::list::age;
use crate::args::Options;
use crate::backup_args::Rehearse;
use crate::error::CliError;
use crate::repository::{self, BackupSettings};
use crate::transfer::Transfer;
use crate::{FOUND, audit, say};

pub(crate) async fn run(command: &Rehearse, options: &Options) -> Result<ExitCode, CliError> {
    let opened = BackupSettings::read(options)?.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let backup = match &command.backup {
        Some(named) => Some(repository::backup(&cluster, named).await?.id),
        None => None,
    };
    let check = |sql: &String| Check {
        name: sql.clone(),
        database: command.database.clone(),
        sql: sql.clone(),
        expect: Expect::Equals("t".to_owned()),
    };
    let config = RehearseConfig {
        backup,
        restore_command: super::restore_command(options),
        checks: command.assert.iter().map(check).collect(),
        ..RehearseConfig::below(command.scratch.clone().unwrap_or_else(std::env::temp_dir))
    };
    let transfer = Transfer::begin();
    let verdict = rehearse(&cluster, &config, &transfer.observer()).await;
    transfer.end();
    let verdict = verdict?;
    let said = sentence(&verdict);
    audit::record(&cluster, AuditAction::Rehearse, verdict.backup.as_ref(), &[("verdict", said.clone())])
        .await;
    let mut lines = vec![said];
    lines.extend(verdict.problems.iter().map(|problem| format!("wrong {problem}")));
    for check in &verdict.checks {
        let word = if check.holds { "ok   " } else { "wrong" };
        lines.push(format!("{word} {}: {}", check.name, check.answer));
    }
    say::result(options.json, &say::coloured(&lines.join("\n")), &json!(verdict));
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// What came of a rehearsal, in one line.
pub(crate) fn sentence(verdict: &Rehearsal) -> String {
    let backup = verdict.backup.as_ref().map_or_else(|| "no backup".to_owned(), ToString::to_string);
    let seconds = |seconds: f64| age(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    if !verdict.holds() {
        let wrong = verdict.checks.iter().filter(|check| !check.holds).map(|check| check.name.clone());
        let all: Vec<String> = verdict.problems.iter().cloned().chain(wrong).collect();
        return format!("{backup} DOES NOT RESTORE as it should: {}", all.join("; "));
    }
    let mut parts = vec![format!("{backup} restores")];
    parts.extend(verdict.rto_seconds.map(|rto| format!("the first query after {}", seconds(rto))));
    parts.extend(verdict.rpo_seconds.map(|rpo| format!("its newest commit {} old", seconds(rpo))));
    parts.join(", ")
}
