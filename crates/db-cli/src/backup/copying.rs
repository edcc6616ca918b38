//! `dbctl backup copy`: into a second repository.

use std::process::ExitCode;

use db_platform::backup::{AuditAction, BackupId, WriterOptions};
use serde_json::json;

use crate::args::Options;
use crate::backup_args::Copy;
use crate::error::CliError;
use crate::repository::{self, BackupSettings};
use crate::{audit, say, vars};

pub(crate) async fn run(command: &Copy, options: &Options) -> Result<ExitCode, CliError> {
    let opened = BackupSettings::read(options)?.open().await?;
    let second = BackupSettings::of(vars::of_file(&command.into)?)?;
    let there = second.open().await?;
    let from = repository::cluster(&opened, command.of.cluster).await?;
    let to = there.cluster(from.system_identifier());
    let ids: Vec<BackupId> = match &command.backup {
        Some(named) => vec![repository::backup(&from, named).await?.id],
        None => from.backups().await?.whole.into_iter().map(|summary| summary.id).collect(),
    };
    let writer = WriterOptions { compression: second.compression, ..WriterOptions::default() };
    let mut copied: Vec<BackupId> = Vec::new();
    for id in ids {
        let done = from.copy_backup(&id, &to, writer).await?;
        for id in done.backups.iter().filter(|id| !copied.contains(id)) {
            eprintln!("copied  {id}");
        }
        copied.extend(done.backups);
    }
    copied.sort();
    copied.dedup();
    let wal = from.copy_wal(&to, second.compression).await?;
    let log = wal.wal;
    let details = [("backups", copied.len().to_string()), ("into", there.store().to_string())];
    audit::record(&from, AuditAction::Copy, None, &details).await;
    let text = format!("{} backups and {log} files of the log copied to {}", copied.len(), there.store());
    say::result(options.json, &text, &json!({ "backups": copied, "log_files": log, "tails": wal.tails }));
    Ok(ExitCode::SUCCESS)
}
