//! `dbctl backup info`: one backup, or how the repository is doing.

use std::process::ExitCode;

use chrono::Utc;
use db_platform::backup::{Cluster, Repository, Summary};
use serde_json::{Value, json};

use super::list::{age, size, time, version};
use crate::args::Options;
use crate::backup_args::Info;
use crate::error::CliError;
use crate::repository::{self, BackupSettings};
use crate::say;

pub(crate) async fn run(command: &Info, options: &Options) -> Result<ExitCode, CliError> {
    let opened = BackupSettings::read(options)?.open().await?;
    match &command.backup {
        Some(named) => {
            let cluster = repository::cluster(&opened, command.of.cluster).await?;
            let summary = repository::backup(&cluster, named).await?;
            say::result(options.json, &one(&summary), &json!(summary));
        }
        None => {
            let (text, value) = all(&opened, command.of.cluster).await?;
            say::result(options.json, &text, &value);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one(summary: &Summary) -> String {
    let server = &summary.server;
    let mut lines = vec![
        format!("backup       {} ({})", summary.id, summary.kind),
        format!("began        {}", time(summary.began)),
        format!(
            "ended        {} ({} ago)",
            time(summary.ended),
            age((Utc::now() - summary.ended).to_std().unwrap_or_default())
        ),
        format!(
            "size         {} in {} files, {} stored",
            size(summary.figures.plain_bytes),
            summary.figures.files,
            size(summary.figures.stored_bytes)
        ),
        format!("server       PostgreSQL {}, cluster {}", version(server.version), server.system_identifier),
    ];
    let more = [
        ("relative to", summary.parent.as_ref().map(ToString::to_string)),
        ("label", summary.label.clone()),
        (
            "log",
            summary
                .wal
                .as_ref()
                .map(|wal| format!("timeline {}, {} to {}", wal.timeline, wal.start, wal.stop)),
        ),
        ("databases", (!summary.databases.is_empty()).then(|| summary.databases.join(", "))),
        ("C library", server.libc.clone()),
        ("ICU", server.icu.clone()),
        ("pinned", summary.pinned.then(|| "yes: no policy removes it".to_owned())),
        (
            "damaged",
            (!summary.bad_pages.is_empty())
                .then(|| format!("{} pages, when it was taken", summary.bad_pages.len())),
        ),
        ("written by", Some(summary.program.clone())),
    ];
    lines.extend(more.into_iter().filter_map(|(name, value)| Some(format!("{name:<12} {}", value?))));
    for space in &summary.tablespaces {
        let name = space.name.as_deref().unwrap_or("?");
        lines.push(format!("tablespace   {} {name} in {}", space.oid, space.location));
    }
    lines.join("\n")
}

async fn all(opened: &Repository, named: Option<u64>) -> Result<(String, Value), CliError> {
    let clusters = match named {
        Some(id) => vec![id],
        None => opened.clusters().await?,
    };
    let (mut lines, mut values) = (vec![format!("repository {}", opened.store())], Vec::new());
    for id in clusters {
        let (line, value) = cluster(&opened.cluster(id)).await?;
        lines.push(line);
        values.push(value);
    }
    Ok((lines.join("\n"), json!({ "repository": opened.store().to_string(), "clusters": values })))
}

/// The newest entries of the audit log.
const AUDIT_SHOWN: usize = 10;

async fn cluster(cluster: &Cluster) -> Result<(String, Value), CliError> {
    let (entries, unreadable) = cluster.audit().await?;
    let backups = cluster.backups().await?;
    let stored: u64 = backups.whole.iter().map(|one| one.figures.stored_bytes).fold(0, u64::saturating_add);
    let mut log = 0_u64;
    for timeline in cluster.timelines().await? {
        let stretch = cluster.wal(timeline).await?;
        log = stretch.iter().map(|stored| stored.object.bytes).fold(log, u64::saturating_add);
    }
    let newest = backups.whole.last();
    let ago = newest.map(|one| (Utc::now() - one.ended).to_std().unwrap_or_default());
    let text = format!(
        "cluster {}: {} backups, {} stored, {} of log; the newest {}{}",
        cluster.system_identifier(),
        backups.whole.len(),
        size(stored),
        size(log),
        newest.map_or_else(|| "is none".to_owned(), |one| one.id.to_string()),
        ago.map(|ago| format!(", {} ago", age(ago))).unwrap_or_default(),
    );
    let mut lines = vec![text];
    for entry in entries.iter().rev().take(AUDIT_SHOWN).rev() {
        let backup = entry.backup.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
        let action = format!("{:?}", entry.action).to_lowercase();
        lines.push(format!("  {} {} {action}{backup}", time(entry.at), entry.who));
    }
    lines.extend(unreadable.iter().map(|path| format!("  DAMAGED {path}")));
    let text = lines.join("\n");
    let value = json!({
        "audit": entries,
        "audit_damaged": unreadable,
        "cluster": cluster.system_identifier().to_string(),
        "backups": backups.whole.len(),
        "damaged": backups.damaged.len(),
        "stored_bytes": stored,
        "log_bytes": log,
        "newest": newest.map(|one| one.id.to_string()),
        "newest_age_seconds": ago.map(|ago| ago.as_secs()),
    });
    Ok((text, value))
}
