//! `dbctl backup take`.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use db_platform::backup::take::{TakeConfig, Taken, WalSource, take};
use db_platform::backup::{AuditAction, BackupId, Observer, Repository, Summary, WriterOptions};
use db_platform::{BackupDial, Config, DatabaseUrl};
use serde_json::json;

use super::list::{age, size};
use crate::args::Options;
use crate::backup_args::Take;
use crate::error::CliError;
use crate::hooks::{Hooked, Outcome};
use crate::repository::BackupSettings;
use crate::transfer::Transfer;
use crate::{audit, connect, hooks, repository, say};

pub(crate) async fn run(command: &Take, options: &Options) -> Result<ExitCode, CliError> {
    let config: Config = connect::config(options)?;
    let settings = BackupSettings::read(options)?;
    let repository = settings.open_to_add().await?;
    let transfer = Transfer::begin();
    let observer = transfer.observer();
    let taken = once(command, &config.direct_url, &settings, &repository, &observer).await;
    transfer.end();
    let Hooked { value: taken, after } = taken?;
    let summary = &taken.summary;
    let took = took(summary);
    let text = sentence(&taken);
    let value = json!({ "backup": summary, "warnings": taken.warnings, "seconds": took.as_secs_f64() });
    say::result(options.json, &text, &value);
    for page in summary.bad_pages.iter().take(20) {
        eprintln!("damaged page: {}", serde_json::to_string(page).unwrap_or_default());
    }
    hooks::status(after, summary.bad_pages.is_empty())
}

/// Takes a backup, between the operator's hooks.
pub(crate) async fn once(
    command: &Take,
    url: &DatabaseUrl,
    settings: &BackupSettings,
    repository: &Repository,
    observer: &Observer,
) -> Result<Hooked<Taken>, CliError> {
    let outcome = |taken: &Taken| Outcome {
        backup: Some(taken.summary.id.clone()),
        wrong: (!taken.summary.bad_pages.is_empty()).then(|| sentence(taken)),
    };
    let work = between(command, url, settings, repository, observer);
    hooks::around(&settings.hooks, "take", outcome, work).await
}

async fn between(
    command: &Take,
    url: &DatabaseUrl,
    settings: &BackupSettings,
    repository: &Repository,
    observer: &Observer,
) -> Result<Taken, CliError> {
    let parent = match command.incremental {
        true => Some(parent(command, repository).await?),
        false => None,
    };
    let mut config = TakeConfig::new(url.clone());
    config.dial = Arc::new(BackupDial);
    config.parent = parent;
    config.label.clone_from(&command.label);
    config.pinned = command.pin;
    config.reuse = command.reuse;
    config.spread_checkpoint = command.spread_checkpoint;
    config.max_rate_kib = command.max_rate.and_then(|mib| NonZeroU32::new(mib.saturating_mul(1024)));
    config.writer = WriterOptions {
        compression: settings.compression,
        workers: usize::from(command.workers),
        ..WriterOptions::default()
    };
    if command.include_log {
        config.wal = WalSource::Included;
    }
    let taken = take(repository, &config, observer).await?;
    let summary = &taken.summary;
    let cluster = repository.cluster(summary.server.system_identifier);
    audit::record(&cluster, AuditAction::Take, Some(&summary.id), &[("kind", summary.kind.to_string())])
        .await;
    Ok(taken)
}

/// The backup that an incremental one is relative to: the one that is named, or the newest physical one.
async fn parent(command: &Take, opened: &Repository) -> Result<BackupId, CliError> {
    let cluster = repository::cluster(opened, None).await?;
    if let Some(named) = &command.parent {
        return Ok(repository::backup(&cluster, named).await?.id);
    }
    let whole = cluster.backups().await?.whole;
    let newest = whole.into_iter().rev().find(|summary| summary.kind.is_physical());
    newest.map(|summary| summary.id).ok_or(CliError::NoParent)
}

fn took(summary: &Summary) -> Duration {
    (summary.ended - summary.began).to_std().unwrap_or_default()
}

/// What was taken, in one line.
pub(crate) fn sentence(taken: &Taken) -> String {
    let summary = &taken.summary;
    let damaged = match summary.bad_pages.len() {
        0 => String::new(),
        pages => format!(
            "; {pages} PAGES WERE DAMAGED when they were read: restore or repair them, then take another"
        ),
    };
    format!(
        "{} taken in {}: {} in {} files, {} stored{damaged}",
        summary.id,
        age(took(summary)),
        size(summary.figures.plain_bytes),
        summary.figures.files,
        size(summary.figures.stored_bytes),
    )
}
