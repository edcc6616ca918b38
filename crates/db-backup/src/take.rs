//! Takes a physical backup: BASE_BACKUP is read, cut into chunks and stored in one pass, with no local copy.
//!
//! The backup exists once its manifest does, and that is written only when the log that it needs is in the
//! repository.

mod checksum;
mod configuration;
mod facts;
mod intake;
mod pages;
mod stream;
mod tar;
mod wal_wait;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use db_core::DatabaseUrl;
use serde_json::json;

use crate::backup_id::BackupId;
use crate::manifest::{Kind, Manifest, Root, ServerFacts, Summary, Tablespace, WalRange};
use crate::physical_error::PhysicalError;
use crate::progress::{Observer, Progress};
use crate::session::{Dial, Plain, Session};
use crate::{Cluster, Repository, WriterOptions, losses};
use facts::Server;

#[cfg(feature = "import")]
pub(crate) use wal_wait::needed;

/// The name of the server's own manifest beside the data: an incremental backup starts from it.
pub(crate) const SERVER_MANIFEST: &str = "backup_manifest";

/// How a backup is taken.
#[derive(Clone)]
pub struct TakeConfig {
    /// The server: a primary or a standby. The role needs LOGIN and REPLICATION, and pg_hba.conf a line for
    /// it and the URL's database.
    pub url: DatabaseUrl,
    /// How its bytes get here; [`Plain`] by default.
    pub dial: Arc<dyn Dial>,
    /// Relative to which backup it is taken: PostgreSQL 17 and later send only the blocks that changed since.
    pub parent: Option<BackupId>,
    /// What the operator calls it.
    pub label: Option<String>,
    /// Whether no policy may remove it.
    pub pinned: bool,
    /// How hard it is compressed, and by how many threads.
    pub writer: WriterOptions,
    /// The most that the server sends in a second, in KiB. Without it a backup takes what the disk gives, and
    /// the server's own readers feel it.
    pub max_rate_kib: Option<NonZeroU32>,
    /// Whether the server spreads the checkpoint in front over time instead of writing at full speed.
    pub spread_checkpoint: bool,
    /// Where the log comes from that makes the backup consistent.
    pub wal: WalSource,
    /// Whether chunks of the newest backup are used again. It saves space and time; but a pack that is lost
    /// is then lost to several backups.
    pub reuse: bool,
}

/// Where the log comes from that makes a backup consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalSource {
    /// From the archive where the server has one, else along with the backup; always along from a standby,
    /// because an idle primary may not finish the last segment for hours.
    Auto,
    /// From the archive: the backup is published when all of it is there, and fails where that takes longer.
    Archive {
        /// How long it is waited for.
        within: Duration,
    },
    /// Along with the backup.
    Included,
}

/// What was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The backup as it was published. Where its `bad_pages` are not empty, a page was damaged when it was
    /// read: the backup is kept, and the exit status should tell.
    pub summary: Summary,
    /// What worked, but perhaps not as it was meant.
    pub warnings: Vec<String>,
    /// What the backup before this one had and this one does not: databases, a good part of the tables, half
    /// of the bytes. It is among the warnings as well.
    pub lost: Vec<String>,
}

/// How long the log is waited for where nothing else was said.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(300);

impl TakeConfig {
    /// A full backup of this server with the defaults.
    pub fn new(url: DatabaseUrl) -> Self {
        TakeConfig {
            url,
            dial: Arc::new(Plain),
            parent: None,
            label: None,
            pinned: false,
            writer: WriterOptions::default(),
            max_rate_kib: None,
            spread_checkpoint: false,
            wal: WalSource::Auto,
            reuse: false,
        }
    }
}

/// Takes a backup and publishes it.
///
/// # Errors
/// [`PhysicalError`]; nothing is published then. What was written is removed where the credentials allow it,
/// else by the next expiry.
///
/// # Cancel safety
/// Dropping the future publishes nothing; what was written is garbage that the next expiry collects.
pub async fn take(
    repository: &Repository,
    config: &TakeConfig,
    observer: &Observer,
) -> Result<Taken, PhysicalError> {
    let mut session = Session::open(&config.url, config.dial.as_ref()).await?;
    if session.major() < 15 {
        return Err(PhysicalError::TooOld { major: session.major() });
    }
    let in_force = facts::timeouts_in_force(&mut session).await?;
    if !in_force.is_empty() {
        return Err(PhysicalError::Timeouts { settings: in_force });
    }
    let server = Server::ask(&mut session).await?;
    let cluster = repository.cluster(server.facts.system_identifier);
    let parent = parent(&cluster, config, &server).await?;
    let base = if config.reuse { newest_full(&cluster).await? } else { None };
    let kind = if parent.is_some() { Kind::Incremental } else { Kind::Full };
    let mut draft = cluster.begin(kind, server.facts.clone(), base.as_ref()).await?;
    let done = fill(&mut draft, &cluster, session, &server, config, parent.as_ref(), observer).await;
    match done {
        Ok((files, content, mut warnings)) => {
            let summary = draft.publish(files, content).await?;
            let lost = losses::since_the_last(&cluster, &summary).await;
            for lost in &lost {
                observer(Progress::Warning(lost.clone()));
            }
            warnings.extend(lost.iter().cloned());
            Ok(Taken { summary, warnings, lost })
        }
        Err(error) => {
            // The first error is the one to tell; what is left behind is garbage that expiry collects.
            if let Err(left) = draft.abandon().await {
                tracing::warn!(error = %left, "an unfinished backup could not be removed; expiry will");
            }
            Err(error)
        }
    }
}

/// The facts of a server, for a backup that is taken otherwise.
pub(crate) async fn server_facts(session: &mut Session) -> Result<ServerFacts, PhysicalError> {
    Ok(facts::of_any(session).await?)
}

type Filled = (Vec<crate::File>, crate::ChunkTable, Vec<String>);

async fn fill(
    draft: &mut crate::Draft,
    cluster: &Cluster,
    mut session: Session,
    server: &Server,
    config: &TakeConfig,
    parent: Option<&Manifest>,
    observer: &Observer,
) -> Result<Filled, PhysicalError> {
    let mut warnings = server.collation_mismatches.clone();
    let source = wal_source(config.wal, server, &mut warnings);
    if let Some(parent) = parent {
        observer(Progress::Stage("sending the parent's manifest"));
        send_manifest(cluster, &mut session, parent).await?;
    }
    let writer = draft.writer(config.writer)?;
    let command = stream::command(config, source == WalSource::Included, parent.is_some());
    let mut got = stream::run(&mut session, &command, server, writer, observer).await?;
    configuration::add(&mut got.intake, &session, server, &mut warnings).await?;
    let wal = WalRange { timeline: got.timeline, start: got.start, stop: got.stop };
    if let WalSource::Archive { within } = source {
        observer(Progress::Stage("waiting for the log to be archived"));
        wal_wait::archived(cluster, &mut session, &wal, server, within).await?;
    }
    let bad_pages = pages::confirm(&mut session, got.intake.suspects(), got.start).await?;
    let next_xid = session.value("SELECT pg_snapshot_xmax(pg_current_snapshot())").await?;
    let stopped_at =
        session.value("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')").await?;
    let superuser = session.value("SELECT rolname FROM pg_roles WHERE oid = 10").await?;
    warnings.extend(session.take_notices());
    session.close().await;
    let summary = &mut draft.summary;
    summary.ended = Utc::now();
    summary.parent = parent.map(|parent| parent.summary.id.clone());
    summary.wal = Some(wal);
    summary.tablespaces = tablespaces(&got.tablespaces, server);
    summary.databases = server.databases.clone();
    summary.bad_pages = bad_pages;
    summary.label = config.label.clone();
    summary.pinned = config.pinned;
    let included = source == WalSource::Included;
    let notes = [
        ("wal_included", json!(included)),
        ("next_xid", json!(next_xid)),
        ("superuser", json!(superuser)),
        ("stopped_at", json!(stopped_at)),
        ("config_directory", json!(server.config_directory())),
    ];
    summary.notes.extend(notes.into_iter().map(|(name, value)| (name.to_owned(), value)));
    for warning in &warnings {
        observer(Progress::Warning(warning.clone()));
    }
    let (files, content) = got.intake.finish().await?;
    let relations = losses::relations(&files, &server.names);
    draft.summary.notes.insert(losses::RELATIONS.to_owned(), json!(relations));
    Ok((files, content, warnings))
}

fn wal_source(asked: WalSource, server: &Server, warnings: &mut Vec<String>) -> WalSource {
    match asked {
        WalSource::Auto if server.archives && !server.facts.standby => {
            WalSource::Archive { within: ARCHIVED_WITHIN }
        }
        WalSource::Auto => {
            if !server.facts.standby {
                warnings.push(
                    "the server archives no log (archive_mode is off): this backup restores to its own moment only"
                        .to_owned(),
                );
            }
            WalSource::Included
        }
        said => said,
    }
}

async fn parent(
    cluster: &Cluster,
    config: &TakeConfig,
    server: &Server,
) -> Result<Option<Manifest>, PhysicalError> {
    let Some(id) = &config.parent else { return Ok(None) };
    let refused = |reason: &str| PhysicalError::NoIncremental { reason: reason.to_owned() };
    if server.facts.version / 10_000 < 17 {
        return Err(refused("it needs PostgreSQL 17 or later: take a full backup"));
    }
    if !server.summarizes {
        return Err(refused(
            "the server keeps no summaries of its log: set summarize_wal = on and take a full backup first",
        ));
    }
    let manifest = cluster.manifest(id).await?;
    if !manifest.summary.kind.is_physical() {
        return Err(PhysicalError::NotPhysical(id.clone()));
    }
    Ok(Some(manifest))
}

/// Gives the server the manifest from which it knows what has changed since.
async fn send_manifest(
    cluster: &Cluster,
    session: &mut Session,
    parent: &Manifest,
) -> Result<(), PhysicalError> {
    let file = parent.files.iter().find(|file| file.root == Root::Beside && file.path == SERVER_MANIFEST);
    let extent = file.and_then(crate::File::extent).ok_or_else(|| PhysicalError::NoIncremental {
        reason: format!("{} has no manifest of the server's: take a full backup", parent.summary.id),
    })?;
    let mut pieces = cluster.reader(parent, 1).read(extent);
    session.send_query("UPLOAD_MANIFEST").await?;
    session.until_copy().await?;
    while let Some(piece) = pieces.next().await? {
        for part in piece.chunks(64 << 10) {
            session.copy(part).await?;
        }
    }
    session.copy_done().await?;
    session.finish().await?;
    Ok(())
}

async fn newest_full(cluster: &Cluster) -> Result<Option<Manifest>, PhysicalError> {
    let backups = cluster.backups().await?;
    match backups.whole.iter().rev().find(|summary| summary.kind == Kind::Full) {
        Some(newest) => Ok(Some(cluster.manifest(&newest.id).await?)),
        None => Ok(None),
    }
}

fn tablespaces(found: &[(u32, String)], server: &Server) -> Vec<Tablespace> {
    let tablespace = |(oid, location): &(u32, String)| Tablespace {
        oid: *oid,
        name: server.tablespaces.get(oid).cloned(),
        location: location.clone(),
    };
    found.iter().map(tablespace).collect()
}
