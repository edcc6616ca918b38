//! `dbctl backup take --logical` and `dbctl backup restore --into`: dumps of databases.

use std::process::ExitCode;
use std::sync::Arc;

use db_platform::BackupDial;
use db_platform::backup::logical::{DumpConfig, RestoreDumpConfig, RestoredDump, dump, restore, unseen};
use db_platform::backup::{AuditAction, Cluster, Kind, Summary, WriterOptions};
use serde_json::json;

use super::list::size;
use crate::args::Options;
use crate::backup_args::{Restore, Take};
use crate::error::CliError;
use crate::hooks::{Hooked, Outcome};
use crate::repository::{self, BackupSettings};
use crate::transfer::Transfer;
use crate::{audit, connect, hooks, say};

pub(crate) async fn take(command: &Take, options: &Options) -> Result<ExitCode, CliError> {
    let url = connect::config(options)?.direct_url;
    let settings = BackupSettings::read(options)?;
    let repository = settings.open_to_add().await?;
    let config = DumpConfig {
        dial: Arc::new(BackupDial),
        databases: command.database.clone(),
        tables: command.table.clone(),
        label: command.label.clone(),
        jobs: usize::from(command.workers),
        writer: WriterOptions { compression: settings.compression, ..WriterOptions::default() },
        ..DumpConfig::new(url, command.work.clone().unwrap_or_else(std::env::temp_dir))
    };
    let transfer = Transfer::begin();
    let observer = transfer.observer();
    let outcome = |summary: &Summary| Outcome { backup: Some(summary.id.clone()), wrong: None };
    let work = async { Ok(dump(&repository, &config, &observer).await?) };
    let summary = hooks::around(&settings.hooks, "take", outcome, work).await;
    transfer.end();
    let Hooked { value: summary, after } = summary?;
    let cluster = repository.cluster(summary.server.system_identifier);
    audit::record(&cluster, AuditAction::Take, Some(&summary.id), &[("kind", summary.kind.to_string())])
        .await;
    for unseen in unseen(&summary) {
        eprintln!("warning: not in the dump: {unseen}");
    }
    let text = format!(
        "{} taken: {}, {}, {} stored",
        summary.id,
        summary.databases.join(", "),
        size(summary.figures.plain_bytes),
        size(summary.figures.stored_bytes)
    );
    say::result(options.json, &text, &json!({ "backup": summary }));
    hooks::status(after, true)
}

/// The newest dump.
pub(super) async fn newest(cluster: &Cluster) -> Result<Summary, CliError> {
    let whole = cluster.backups().await?.whole;
    whole.into_iter().rev().find(|summary| summary.kind == Kind::Logical).ok_or(CliError::NoDump)
}

/// Restores a dump into a database that is made for it, and compares the rows with those that were dumped.
pub(crate) async fn bring_back(
    command: &Restore,
    into: &str,
    options: &Options,
) -> Result<ExitCode, CliError> {
    let url = connect::config(options)?.direct_url;
    let settings = BackupSettings::read(options)?;
    let opened = settings.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let backup = match &command.backup {
        Some(named) => repository::backup(&cluster, named).await?.id,
        None => newest(&cluster).await?.id,
    };
    let config = RestoreDumpConfig {
        dial: Arc::new(BackupDial),
        database: command.database.clone(),
        tables: command.table.clone(),
        jobs: usize::from(command.workers),
        programs: command.pg_bin.clone(),
        ..RestoreDumpConfig::new(url, into, std::env::temp_dir())
    };
    let transfer = Transfer::begin();
    let observer = transfer.observer();
    let outcome = |restored: &RestoredDump| Outcome {
        backup: Some(restored.backup.clone()),
        wrong: (!restored.miscounts.is_empty())
            .then(|| format!("{} tables have other rows than were dumped", restored.miscounts.len())),
    };
    let work = async { Ok(restore(&cluster, &backup, &config, &observer).await?) };
    let restored = hooks::around(&settings.hooks, "restore", outcome, work).await;
    transfer.end();
    let Hooked { value: restored, after } = restored?;
    audit::record(&cluster, AuditAction::Restore, Some(&backup), &[("into", into.to_owned())]).await;
    let mut lines = vec![format!(
        "{} is restored into {}; the rows of {} tables were compared",
        restored.backup, restored.database, restored.compared
    )];
    lines.extend(restored.miscounts.iter().map(|one| format!("wrong {one}")));
    say::result(options.json, &say::coloured(&lines.join("\n")), &json!(restored));
    hooks::status(after, restored.miscounts.is_empty())
}
