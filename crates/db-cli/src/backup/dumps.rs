//! `dbctl backup take --logical` and `dbctl backup restore --into`: dumps of databases.

use std::process::ExitCode;
use std::sync::Arc;

use db_platform::BackupDial;
use db_platform::backup::logical::{DumpConfig, RestoreDumpConfig, dump, restore};
use db_platform::backup::{AuditAction, Kind, WriterOptions};
use serde_json::json;

use super::list::size;
use crate::args::Options;
use crate::backup_args::{Restore, Take};
use crate::error::CliError;
use crate::repository::{self, BackupSettings};
use crate::transfer::Transfer;
use crate::{FOUND, audit, connect, say};

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
    let summary = dump(&repository, &config, &transfer.observer()).await;
    transfer.end();
    let summary = summary?;
    let cluster = repository.cluster(summary.server.system_identifier);
    audit::record(&cluster, AuditAction::Take, Some(&summary.id), &[("kind", summary.kind.to_string())])
        .await;
    let text = format!(
        "{} taken: {}, {}, {} stored",
        summary.id,
        summary.databases.join(", "),
        size(summary.figures.plain_bytes),
        size(summary.figures.stored_bytes)
    );
    say::result(options.json, &text, &json!({ "backup": summary }));
    Ok(ExitCode::SUCCESS)
}

/// Restores a dump into a database that is made for it, and compares the rows with those that were dumped.
pub(crate) async fn bring_back(
    command: &Restore,
    into: &str,
    options: &Options,
) -> Result<ExitCode, CliError> {
    let url = connect::config(options)?.direct_url;
    let opened = BackupSettings::read(options)?.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let backup = match &command.backup {
        Some(named) => repository::backup(&cluster, named).await?.id,
        None => {
            let whole = cluster.backups().await?.whole;
            let newest = whole.into_iter().rev().find(|summary| summary.kind == Kind::Logical);
            newest.ok_or(CliError::NoDump)?.id
        }
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
    let restored = restore(&cluster, &backup, &config, &transfer.observer()).await;
    transfer.end();
    let restored = restored?;
    audit::record(&cluster, AuditAction::Restore, Some(&backup), &[("into", into.to_owned())]).await;
    let mut lines = vec![format!(
        "{} is restored into {}; the rows of {} tables were compared",
        restored.backup, restored.database, restored.compared
    )];
    lines.extend(restored.miscounts.iter().map(|one| {
        let there = one.restored.map_or_else(|| "is missing".to_owned(), |rows| format!("has {rows} rows"));
        format!("wrong {} {there}, and had {} when it was dumped", one.table, one.dumped)
    }));
    say::result(options.json, &say::coloured(&lines.join("\n")), &json!(restored));
    Ok(if restored.miscounts.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}
