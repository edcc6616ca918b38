//! `dbctl backup rehearse`.

use std::process::ExitCode;
use std::time::Duration;

use db_platform::backup::rehearse::{Check, Expect, Rehearsal, RehearseConfig, rehearse};
use db_platform::backup::{AuditAction, Cluster, Observer};
use serde_json::json;

use super::{dumps, list::age};
use crate::args::Options;
use crate::backup_args::Rehearse;
use crate::error::CliError;
use crate::hooks::{Hooked, Outcome};
use crate::repository::{self, BackupSettings};
use crate::transfer::Transfer;
use crate::{audit, hooks, say};

pub(crate) async fn run(command: &Rehearse, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let opened = settings.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let backup = match &command.backup {
        Some(named) => Some(repository::backup(&cluster, named).await?),
        None if command.logical => Some(dumps::newest(&cluster).await?),
        None => None,
    };
    let of_dump = backup.as_ref().filter(|backup| !backup.kind.is_physical());
    let database = command.database.clone().or_else(|| of_dump?.databases.first().cloned());
    let database = database.unwrap_or_else(|| "postgres".to_owned());
    let check = |sql: &String| Check {
        name: sql.clone(),
        database: database.clone(),
        sql: sql.clone(),
        expect: Expect::Equals("t".to_owned()),
    };
    let config = RehearseConfig {
        backup: backup.map(|backup| backup.id),
        restore_command: super::restore_command(options),
        checks: command.assert.iter().map(check).collect(),
        ..RehearseConfig::below(command.scratch.clone().unwrap_or_else(std::env::temp_dir))
    };
    let transfer = Transfer::begin();
    let verdict = once(&cluster, &config, &settings, &transfer.observer()).await;
    transfer.end();
    let Hooked { value: verdict, after } = verdict?;
    let mut lines = vec![sentence(&verdict)];
    lines.extend(verdict.problems.iter().map(|problem| format!("wrong {problem}")));
    lines.extend(verdict.unseen.iter().map(|unseen| format!("note  not in the dump: {unseen}")));
    for check in &verdict.checks {
        let word = if check.holds { "ok   " } else { "wrong" };
        lines.push(format!("{word} {}: {}", check.name, check.answer));
    }
    say::result(options.json, &say::coloured(&lines.join("\n")), &json!(verdict));
    hooks::status(after, verdict.holds())
}

/// Rehearses, between the operator's hooks.
pub(crate) async fn once(
    cluster: &Cluster,
    config: &RehearseConfig,
    settings: &BackupSettings,
    observer: &Observer,
) -> Result<Hooked<Rehearsal>, CliError> {
    let outcome = |verdict: &Rehearsal| Outcome {
        backup: verdict.backup.clone(),
        wrong: (!verdict.holds()).then(|| sentence(verdict)),
    };
    let work = async {
        let verdict = rehearse(cluster, config, observer).await?;
        let said = [("verdict", sentence(&verdict))];
        audit::record(cluster, AuditAction::Rehearse, verdict.backup.as_ref(), &said).await;
        Ok(verdict)
    };
    hooks::around(&settings.hooks, "rehearse", outcome, work).await
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
