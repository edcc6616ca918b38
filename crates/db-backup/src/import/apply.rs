//! Brings backups and their log over: the log first, each backup published when all of it is stored.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;

use super::ImportConfig;
use super::catalog::Source;
use super::error::ImportError;
use super::files::Files;
use super::manifest::{Entry, Listing, in_reading_order};
use super::plan::{NOTE, Plan, PlannedBackup, imported, note};
use crate::backup_id::BackupId;
use crate::chunk::ChunkTable;
use crate::draft::Draft;
use crate::error::BackupError;
use crate::manifest::{File, Kind, Manifest, Root, Summary, What};
use crate::progress::{Observer, Progress};
use crate::{Cluster, Repository};

/// pgBackRest writes times in whole seconds, and cuts the rest off.
const SECOND: TimeDelta = TimeDelta::seconds(1);
/// How often an expiry may take away what was just brought before it is an error.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// What was imported.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// The backups as they were published, the oldest first, with their labels.
    pub backups: Vec<(String, Summary)>,
    /// How many files of the log were not there before.
    pub log: u64,
}

/// Does what was planned.
///
/// # Errors
/// [`ImportError`]. Backups that were published stay; of the one that failed nothing is left but log, which
/// does no harm. The same import goes on where it was.
///
/// # Cancel safety
/// Dropping the future publishes nothing more; what was written of a backup is garbage that an expiry
/// collects.
pub async fn apply(
    source: &Source,
    repository: &Repository,
    config: &ImportConfig,
    plan: &Plan,
    observer: &Observer,
) -> Result<Imported, ImportError> {
    let cluster = repository.cluster(plan.system_identifier);
    let mut done = Imported::default();
    observer(Progress::Stage("importing the log"));
    let (compression, workers) = (config.writer.compression, config.writer.workers);
    done.log = plan.files.import(source, &cluster, compression, workers, observer).await?;
    for backup in &plan.backups {
        observer(Progress::Stage("importing a backup"));
        let summary = one(source, &cluster, config, backup, observer).await?;
        done.backups.push((backup.label.clone(), summary));
        // An expiry that ran meanwhile did not know that this log would be needed.
        keep(source, &cluster, config, plan, backup, observer).await?;
    }
    Ok(done)
}

async fn one(
    source: &Source,
    cluster: &Cluster,
    config: &ImportConfig,
    backup: &PlannedBackup,
    observer: &Observer,
) -> Result<Summary, ImportError> {
    let (listing, _) = source.listing(&backup.label).await?;
    let base = base(cluster, backup).await?;
    let mut summary = Summary::new(Kind::Full, backup.facts.clone(), backup.listed.began);
    summary.ended = backup.listed.ended;
    summary.wal = backup.listed.wal.clone();
    summary.tablespaces = listing.tablespaces.clone();
    summary.databases = listing.databases.clone();
    summary.bad_pages = listing.bad_pages.clone();
    summary.label = Some(backup.label.clone());
    let stopped_at = backup.listed.ended + SECOND;
    let notes = [
        ("wal_included", json!(listing.holds_log)),
        ("stopped_at", json!(stopped_at.to_rfc3339())),
        (NOTE, note(source, &backup.listed, &listing)),
    ];
    summary.notes.extend(notes.map(|(name, value)| (name.to_owned(), value)));
    let draft = Draft::begin(cluster.clone(), summary, base.as_ref()).await?;
    match fill(&draft, source, &listing, config, observer).await {
        Ok((files, content)) => Ok(draft.publish(files, content).await?),
        Err(error) => {
            // The first error is the one to tell; what is left behind is garbage that expiry collects.
            if let Err(left) = draft.abandon().await {
                tracing::warn!(error = %left, "an unfinished backup could not be removed; expiry will");
            }
            Err(error)
        }
    }
}

/// What this one was relative to, if that was imported: its chunks are not stored again.
async fn base(cluster: &Cluster, backup: &PlannedBackup) -> Result<Option<Manifest>, ImportError> {
    let Some(prior) = &backup.listed.prior else { return Ok(None) };
    let there = imported(cluster).await?;
    let id: Option<&BackupId> = there.get(prior).map(|(id, _)| id);
    match id {
        Some(id) => Ok(Some(cluster.manifest(id).await?)),
        None => Ok(None),
    }
}

async fn fill(
    draft: &Draft,
    source: &Source,
    listing: &Listing,
    config: &ImportConfig,
    observer: &Observer,
) -> Result<(Vec<File>, ChunkTable), ImportError> {
    let mut entries = listing.files.clone();
    in_reading_order(&mut entries);
    let total = Some(entries.iter().map(|entry| entry.bytes).sum());
    let mut writer = draft.writer(config.writer)?;
    let mut reading = Files::new(source, listing);
    let mut files = directories(listing, draft.summary.began);
    let mut done = 0;
    for (at, entry) in entries.iter().enumerate() {
        writer.begin_file(entry.bytes).await?;
        reading.write(&entries[at..], &mut writer).await?;
        files.push(file(entry, What::File { extent: writer.end_file() }));
        done += entry.bytes;
        observer(Progress::Bytes { done, total });
    }
    files.extend(listing.tablespaces.iter().map(|space| File {
        path: format!("pg_tblspc/{}", space.oid),
        root: Root::Data,
        what: What::Link { to: space.location.clone() },
        mode: 0o777,
        modified: draft.summary.began,
    }));
    let written = writer.finish().await?;
    Ok((files, written.content))
}

fn directories(listing: &Listing, modified: chrono::DateTime<chrono::Utc>) -> Vec<File> {
    let file = |directory: &super::manifest::Directory| File {
        path: directory.path.clone(),
        root: directory.root.clone(),
        what: What::Directory,
        mode: directory.mode,
        modified,
    };
    listing.directories.iter().map(file).collect()
}

fn file(entry: &Entry, what: What) -> File {
    File {
        path: entry.path.clone(),
        root: entry.root.clone(),
        what,
        mode: entry.mode,
        modified: entry.modified,
    }
}

/// Sees to it that the log of a published backup is there.
async fn keep(
    source: &Source,
    cluster: &Cluster,
    config: &ImportConfig,
    plan: &Plan,
    backup: &PlannedBackup,
    observer: &Observer,
) -> Result<(), ImportError> {
    for _ in 0..TRIES {
        let there =
            crate::wal::segments(cluster, backup.listed.wal.as_ref().map_or(0, |wal| wal.timeline)).await?;
        let mut missing = backup.needs.iter().filter(|segment| !there.contains(segment)).copied().peekable();
        let Some(segment) = missing.peek().copied() else { return Ok(()) };
        if !plan.files.has(segment) {
            // It came along with the backup itself.
            return Ok(());
        }
        let gone = plan.files.only(&missing.collect());
        gone.import(source, cluster, config.writer.compression, config.writer.workers, observer).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Err(BackupError::Misuse("an expiry removes the log as fast as it is imported: let it end first").into())
}
