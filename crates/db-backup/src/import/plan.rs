//! What an import would bring over; nothing is written.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::catalog::{BackupType, Listed, Source};
use super::control::Control;
use super::error::ImportError;
use super::files::Files;
use super::log::Log;
use super::manifest::Listing;
use super::{Choice, ImportConfig};
use crate::backup_id::BackupId;
use crate::manifest::{Root, ServerFacts, Summary};
use crate::take::needed;
use crate::wal_name::Segment;
use crate::{Cluster, Repository};

/// The file that says what a restore must know of the server.
const CONTROL: &str = "global/pg_control";
/// The note in a backup that says where it came from.
pub(super) const NOTE: &str = "imported";

/// What an import will do.
///
/// Its JSON is what `dbctl backup import --plan` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The stanza.
    pub stanza: String,
    /// The cluster whose backups they are. In JSON a text, because JavaScript rounds such numbers.
    #[serde(serialize_with = "as_text")]
    pub system_identifier: u64,
    /// The backups that are imported, the oldest first.
    pub backups: Vec<PlannedBackup>,
    /// The backups that were imported before.
    pub already: Vec<String>,
    /// The backups that cannot be imported.
    pub refused: Vec<RefusedBackup>,
    /// The log that is imported.
    pub log: PlannedLog,
    /// What may not be as it was meant.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) files: Log,
}

/// A backup that is imported.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedBackup {
    /// Its label.
    pub label: String,
    /// How it was taken. It becomes a full backup that has everything.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// When it began.
    pub began: DateTime<Utc>,
    /// The major version of its server.
    pub version: u32,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    #[serde(skip)]
    pub(super) listed: Listed,
    #[serde(skip)]
    pub(super) facts: ServerFacts,
    /// The segments without which it is not consistent.
    #[serde(skip)]
    pub(super) needs: Vec<Segment>,
}

/// A backup that cannot be imported.
#[derive(Debug, Clone, Serialize)]
pub struct RefusedBackup {
    /// Its label.
    pub label: String,
    /// Why not.
    pub why: String,
}

/// The log that is imported.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PlannedLog {
    /// The first file's name.
    pub first: Option<String>,
    /// The last file's name.
    pub last: Option<String>,
    /// How many files there are.
    pub files: u64,
    /// How many bytes they take in the archive.
    pub bytes: u64,
}

/// Plans an import.
///
/// # Errors
/// [`ImportError::NoBackup`] where a named one does not exist, and whatever keeps a named one, or the newest,
/// from being imported; where all are asked for those are in [`Plan::refused`]. Those of the stores.
pub async fn plan(
    source: &Source,
    repository: &Repository,
    config: &ImportConfig,
) -> Result<Plan, ImportError> {
    let chosen = choose(source, &config.backups)?;
    let newest = chosen.last().ok_or_else(|| no_backup(source, ""))?;
    let (system_identifier, version) = (newest.system_identifier, newest.version);
    let cluster = repository.cluster(system_identifier);
    let there = imported(&cluster).await?;
    let log = Log::list(source, &source.archives(system_identifier, version)).await?;
    let mut plan = Plan {
        stanza: source.stanza().to_owned(),
        system_identifier,
        backups: Vec::new(),
        already: Vec::new(),
        refused: Vec::new(),
        log: PlannedLog::default(),
        warnings: source.warnings.clone(),
        files: Log::default(),
    };
    let mut first: Option<Segment> = None;
    for listed in &chosen {
        if (listed.system_identifier, listed.version) != (system_identifier, version) {
            let what = "it is of another cluster than the newest one that was asked for: import it by itself, with --backup";
            refuse(&mut plan, config, listed, ImportError::unsupported(&listed.label, what))?;
        } else if there.contains_key(&listed.label) {
            plan.already.push(listed.label.clone());
            first = earlier(first, start(listed, &there));
        } else {
            match planned(source, listed, &log, &mut plan.warnings).await {
                Ok(backup) => {
                    first = earlier(first, backup.needs.first().copied());
                    plan.backups.push(backup);
                }
                Err(error) => refuse(&mut plan, config, listed, error)?,
            }
        }
    }
    if let Some(first) = first {
        let compared: BTreeSet<Segment> =
            plan.backups.iter().flat_map(|backup| backup.needs.iter().copied()).collect();
        plan.files = log.since(first).lacking(&cluster, &compared).await?;
        plan.log = PlannedLog::of(&plan.files);
    }
    Ok(plan)
}

impl PlannedLog {
    fn of(log: &Log) -> PlannedLog {
        let segments = || log.names().filter_map(|name| name.segment());
        PlannedLog {
            first: segments().next().map(|segment| segment.to_string()),
            last: segments().last().map(|segment| segment.to_string()),
            files: log.names().count() as u64,
            bytes: log.bytes(),
        }
    }
}

/// The backups that were imported before, by their labels.
pub(super) async fn imported(
    cluster: &Cluster,
) -> Result<std::collections::BTreeMap<String, (BackupId, Summary)>, ImportError> {
    let backups = cluster.backups().await?;
    let label = |summary: &Summary| Some(summary.notes.get(NOTE)?.get("label")?.as_str()?.to_owned());
    let found = backups
        .whole
        .into_iter()
        .filter_map(|summary| Some((label(&summary)?, (summary.id.clone(), summary))));
    Ok(found.collect())
}

fn choose(source: &Source, choice: &Choice) -> Result<Vec<Listed>, ImportError> {
    let all = source.backups();
    match choice {
        Choice::All => Ok(all.to_vec()),
        Choice::Newest => Ok(all.last().cloned().into_iter().collect()),
        Choice::Named(labels) => {
            if let Some(unknown) =
                labels.iter().find(|label| !all.iter().any(|backup| backup.label == **label))
            {
                return Err(no_backup(source, unknown));
            }
            Ok(all.iter().filter(|backup| labels.contains(&backup.label)).cloned().collect())
        }
    }
}

fn no_backup(source: &Source, label: &str) -> ImportError {
    ImportError::NoBackup { label: label.to_owned(), known: source.labels().map(str::to_owned).collect() }
}

/// What was asked for by name must be imported; of all of them, what can be.
fn refuse(
    plan: &mut Plan,
    config: &ImportConfig,
    listed: &Listed,
    error: ImportError,
) -> Result<(), ImportError> {
    let is_of_the_backup = matches!(
        error,
        ImportError::Unsupported { .. } | ImportError::NoLog { .. } | ImportError::Damaged { .. }
    ) || error.is_damage();
    if config.backups != Choice::All || !is_of_the_backup {
        return Err(error);
    }
    plan.refused.push(RefusedBackup { label: listed.label.clone(), why: error.to_string() });
    Ok(())
}

async fn planned(
    source: &Source,
    listed: &Listed,
    log: &Log,
    warnings: &mut Vec<String>,
) -> Result<PlannedBackup, ImportError> {
    if let Some(refused) = listed.refused() {
        return Err(refused);
    }
    let (listing, damage) = source.listing(&listed.label).await?;
    let of = |text: String| format!("{}: {text}", listed.label);
    warnings
        .extend(damage.map(|damage| of(format!("its manifest was read from the copy, because {damage}"))));
    warnings.extend(listing.links.iter().map(|(name, to)| {
        of(format!("{name} was a link to {to}: a restore puts what it led to into the data directory"))
    }));
    if !listing.bad_pages.is_empty() {
        warnings.push(of(format!("{} pages were damaged when it was taken", listing.bad_pages.len())));
    }
    let facts = facts(source, listed, &listing).await?;
    let needs = listed.wal.as_ref().map_or_else(Vec::new, |wal| needed(wal, facts.wal_segment_bytes));
    if let Some(segment) = needs.iter().find(|segment| !listing.holds_log && !log.has(**segment)) {
        return Err(ImportError::NoLog { label: listed.label.clone(), segment: *segment });
    }
    Ok(PlannedBackup {
        label: listed.label.clone(),
        kind: listed.kind,
        began: listed.began,
        version: listed.version,
        files: listing.files.len() as u64,
        bytes: listed.bytes,
        listed: listed.clone(),
        facts,
        needs,
    })
}

/// What is known of the server. It was not asked, so its C library and its minor version are not among it.
async fn facts(source: &Source, listed: &Listed, listing: &Listing) -> Result<ServerFacts, ImportError> {
    let control = listing.files.iter().find(|entry| entry.root == Root::Data && entry.path == CONTROL);
    let missing = |what: &str| ImportError::damaged(&listed.label, format!("{CONTROL} {what}"));
    let content = Files::new(source, listing).read(control.ok_or_else(|| missing("is not in it"))?).await?;
    let control = Control::of(&content);
    if control.as_ref().is_some_and(|control| control.system_identifier != listed.system_identifier) {
        return Err(missing("is of another cluster"));
    }
    let facts = ServerFacts {
        system_identifier: listed.system_identifier,
        version: listed.version * 10_000,
        standby: listed.standby,
        ..ServerFacts::default()
    };
    Ok(match control {
        Some(control) => ServerFacts {
            wal_segment_bytes: control.wal_segment_bytes,
            block_bytes: control.block_bytes,
            data_checksums: control.data_checksums,
            settings: control.settings,
            ..facts
        },
        // Of a version that is not known; these are what a server has unless somebody chose otherwise.
        None => ServerFacts {
            wal_segment_bytes: 16 << 20,
            block_bytes: 8192,
            data_checksums: listing.page_checksums,
            ..facts
        },
    })
}

fn start(
    listed: &Listed,
    there: &std::collections::BTreeMap<String, (BackupId, Summary)>,
) -> Option<Segment> {
    let (_, summary) = there.get(&listed.label)?;
    let wal = listed.wal.as_ref()?;
    Some(Segment::containing(wal.timeline, wal.start, summary.server.wal_segment_bytes))
}

fn earlier(one: Option<Segment>, other: Option<Segment>) -> Option<Segment> {
    let place = |segment: &Segment| (segment.log, segment.number);
    one.into_iter().chain(other).min_by_key(place)
}

fn as_text<S: serde::Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// What is noted in a backup of where it came from.
pub(super) fn note(source: &Source, listed: &Listed, listing: &Listing) -> Value {
    let mut note = serde_json::json!({
        "from": "pgBackRest",
        "stanza": source.stanza(),
        "label": listed.label,
        "type": listed.kind,
    });
    if let (Some(note), Some(annotation)) = (note.as_object_mut(), &listing.annotation) {
        note.insert("annotation".to_owned(), annotation.clone());
    }
    note
}
