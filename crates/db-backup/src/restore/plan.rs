//! What a restore would fetch, replay and replace; nothing is touched.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::place::{self, Place};
use super::reach::{Archive, Reach, Stretch};
use super::{Existing, RestoreConfig, Target, TimelineChoice, collations};
use crate::Cluster;
use crate::backup_id::BackupId;
use crate::manifest::{Manifest, Root, Summary, WalRange};
use crate::physical_error::PhysicalError;

/// How much the clocks of server and store may differ before a time counts as beyond the archive.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// What a restore will do.
///
/// Its JSON is what `dbctl backup restore --plan` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The backup that is restored.
    pub backup: BackupId,
    /// The backups that are combined, the full one first.
    pub chain: Vec<BackupId>,
    /// Up to where the log is replayed, in words.
    pub target: String,
    /// The timeline that is followed.
    pub timeline: u32,
    /// How many files are written.
    pub files: u64,
    /// How many bytes they have. What is there already is not fetched.
    pub bytes: u64,
    /// The segments that are replayed, in their order.
    pub log: Vec<LogStretch>,
    /// Where the archive ends.
    pub log_ends_at: String,
    /// What is in the way, and where it goes.
    pub replaces: Vec<Replaced>,
    /// Whether an unfinished restore of the same backup is continued.
    pub resumes: bool,
    /// Where each tablespace goes.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// What may not be as it was meant.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) manifests: Vec<Manifest>,
    #[serde(skip)]
    pub(super) with_log: bool,
}

/// Segments on one timeline that are replayed.
#[derive(Debug, Clone, Serialize)]
pub struct LogStretch {
    /// The first segment's name.
    pub first: String,
    /// The last segment's name.
    pub last: String,
    /// How many there are.
    pub segments: u64,
}

/// A directory that is in the way.
#[derive(Debug, Clone, Serialize)]
pub struct Replaced {
    /// The directory.
    pub directory: PathBuf,
    /// Where it is kept; `None` where it is overwritten.
    pub kept_as: Option<PathBuf>,
}

/// Plans a restore.
///
/// # Errors
/// [`PhysicalError::NoWay`] and [`PhysicalError::Unreachable`] where the archive does not lead to the target;
/// [`PhysicalError::InUse`], [`PhysicalError::NotEmpty`] and [`PhysicalError::OtherCluster`] where the
/// directory cannot be used.
pub async fn plan(cluster: &Cluster, config: &RestoreConfig) -> Result<Plan, PhysicalError> {
    let (summary, reach) = choose(cluster, config).await?;
    let manifests = chain(cluster, &summary).await?;
    let mut warnings = Vec::new();
    let (mut replaces, resumes) = in_the_way(config, &summary)?;
    let may_replace = resumes || config.existing != Existing::Refuse;
    let tablespaces = place::tablespaces(&summary.tablespaces, &config.tablespaces, may_replace)?;
    replaces.extend(tablespaces_in_the_way(&tablespaces, config, resumes));
    if manifests.iter().any(|manifest| manifest.files.iter().any(|file| file.root == Root::Config))
        && config.config_directory.is_none()
    {
        warnings.push("the backup holds configuration from outside the data directory, which is not written: name a place for it".to_owned());
    }
    warnings.extend(collations::other_library(summary.server.libc.as_deref()));
    if !summary.bad_pages.is_empty() {
        warnings.push(format!("{} pages were damaged when this backup was taken", summary.bad_pages.len()));
    }
    Ok(Plan {
        backup: summary.id.clone(),
        chain: manifests.iter().map(|manifest| manifest.summary.id.clone()).collect(),
        target: config.target.to_string(),
        timeline: reach.timeline,
        files: manifests.iter().map(|manifest| manifest.files.len() as u64).sum(),
        bytes: manifests.iter().map(|manifest| manifest.summary.figures.plain_bytes).sum(),
        log: reach.stretches.iter().map(LogStretch::from).collect(),
        log_ends_at: reach.end.to_string(),
        replaces,
        resumes,
        tablespaces,
        warnings,
        with_log: !(config.target == Target::Consistent && is_included(&summary)),
        manifests,
    })
}

impl From<&Stretch> for LogStretch {
    fn from(stretch: &Stretch) -> Self {
        LogStretch {
            first: stretch.first.to_string(),
            last: stretch.last.to_string(),
            segments: stretch.segments,
        }
    }
}

/// The backup that would be restored.
pub(crate) async fn chosen(cluster: &Cluster, config: &RestoreConfig) -> Result<Summary, PhysicalError> {
    choose(cluster, config).await.map(|(summary, _)| summary)
}

/// The newest backup that leads to the target, or the one that is named, if it does.
async fn choose(cluster: &Cluster, config: &RestoreConfig) -> Result<(Summary, Reach), PhysicalError> {
    let mut candidates = cluster.backups().await?.whole;
    candidates.reverse();
    if let Some(id) = &config.backup {
        candidates.retain(|summary| summary.id == *id);
        let named = candidates.first().ok_or_else(|| crate::BackupError::NoBackup(id.clone()))?;
        if !named.kind.is_physical() {
            return Err(PhysicalError::NotPhysical(id.clone()));
        }
    }
    candidates.retain(|summary| summary.kind.is_physical() && summary.wal.is_some());
    // Nothing tells on which side of a backup a restore point lies; before the oldest it cannot be reached at
    // all.
    if matches!(config.target, Target::Name(_)) {
        candidates.reverse();
    }
    let (archive, newest) = archive(cluster, &candidates).await?;
    if let (Target::Time(time), Some(newest)) = (&config.target, newest)
        && *time > newest + CLOCKS_DIFFER
    {
        let nearest = Some(format!("the last file of the log was archived at {}", newest.to_rfc3339()));
        return Err(PhysicalError::NoWay { target: config.target.to_string(), nearest });
    }
    let mut nearest = None;
    for summary in candidates {
        match reach(&archive, &summary, config) {
            Ok(reach) => return Ok((summary, reach)),
            Err(error) => nearest = nearest.or(Some(error)),
        }
    }
    let named = config.backup.is_some();
    match nearest {
        Some(error) if named => Err(error),
        nearest => Err(PhysicalError::NoWay {
            target: config.target.to_string(),
            nearest: nearest.map(|error| error.to_string()),
        }),
    }
}

/// What is archived, and when the newest of it came; `None` while a receiver stores more than whole segments.
async fn archive(
    cluster: &Cluster,
    candidates: &[Summary],
) -> Result<(Archive, Option<DateTime<Utc>>), PhysicalError> {
    let segment_bytes = candidates.first().map_or(16 << 20, |summary| summary.server.wal_segment_bytes);
    let (mut names, mut newest) = (Vec::new(), None);
    for timeline in cluster.timelines().await? {
        let stored = cluster.wal(timeline).await?;
        newest = stored.iter().map(|stored| stored.object.written).max().max(newest);
        names.extend(stored.into_iter().map(|stored| stored.name));
    }
    // A segment that was received in part counts: replay goes on to the end of that part.
    let tails = crate::wal::tails(cluster).await?;
    newest = newest.filter(|_| tails.is_empty());
    names.extend(tails.into_iter().map(crate::WalName::Segment));
    Ok((Archive::new(names, crate::wal::histories(cluster).await?, segment_bytes), newest))
}

fn reach(archive: &Archive, summary: &Summary, config: &RestoreConfig) -> Result<Reach, PhysicalError> {
    let Some(range) = &summary.wal else { return Err(PhysicalError::NotPhysical(summary.id.clone())) };
    let too_new = |target: String, stopped: String| PhysicalError::NoWay {
        target,
        nearest: Some(format!("{} is consistent only at {stopped}: choose an older backup", summary.id)),
    };
    match &config.target {
        Target::Time(time) if *time < stopped_at(summary) => {
            return Err(too_new(config.target.to_string(), stopped_at(summary).to_rfc3339()));
        }
        Target::Xid(xid) if next_xid(summary).is_some_and(|next| is_before(*xid, next)) => {
            return Err(too_new(config.target.to_string(), "a later transaction".to_owned()));
        }
        _ => {}
    }
    let included = is_included(summary);
    let within = |target| archive.reach(range, included, choice(config, summary), target);
    Ok(match &config.target {
        Target::Lsn(lsn) => within(Some(*lsn))?,
        Target::Consistent => within(Some(range.stop))?,
        // Where these lie only replay finds out: the server ends with an error where the log ends before.
        Target::Latest | Target::Time(_) | Target::Xid(_) | Target::Name(_) => match within(None) {
            Err(super::Unreachable::Gap { .. }) if config.target != Target::Latest => {
                up_to_the_gap(archive, range, included, config, summary)?
            }
            found => found?,
        },
    })
}

/// A target before a gap can be reached, so the gap alone refuses nothing but the end of the log.
fn up_to_the_gap(
    archive: &Archive,
    range: &WalRange,
    included: bool,
    config: &RestoreConfig,
    summary: &Summary,
) -> Result<Reach, PhysicalError> {
    Ok(archive.reach(range, included, choice(config, summary), Some(range.stop))?)
}

fn choice(config: &RestoreConfig, _summary: &Summary) -> TimelineChoice {
    match (&config.target, config.timeline) {
        // The backup's own moment lies on its own timeline.
        (Target::Consistent, TimelineChoice::Newest) => TimelineChoice::OfBackup,
        (_, chosen) => chosen,
    }
}

/// When the backup became consistent, by the server's clock where that is known.
fn stopped_at(summary: &Summary) -> DateTime<Utc> {
    let noted = summary.notes.get("stopped_at").and_then(serde_json::Value::as_str);
    noted.and_then(|text| text.parse().ok()).unwrap_or(summary.ended)
}

fn next_xid(summary: &Summary) -> Option<u32> {
    let noted = summary.notes.get("next_xid").and_then(serde_json::Value::as_str)?;
    // The lower half of a full transaction id is what the log holds.
    noted.parse::<u64>().ok().and_then(|full| u32::try_from(full & 0xFFFF_FFFF).ok())
}

/// Transaction ids go round: the nearer half counts as before.
fn is_before(xid: u32, other: u32) -> bool {
    xid != other && other.wrapping_sub(xid) < 1 << 31
}

fn is_included(summary: &Summary) -> bool {
    summary.notes.get("wal_included").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// The manifests of a backup and of what it is relative to, the full one first.
async fn chain(cluster: &Cluster, summary: &Summary) -> Result<Vec<Manifest>, PhysicalError> {
    let mut manifests = vec![cluster.manifest(&summary.id).await?];
    while let Some(parent) = manifests.last().and_then(|manifest| manifest.summary.parent.clone()) {
        if manifests.iter().any(|manifest| manifest.summary.id == parent) {
            return Err(PhysicalError::Stream { reason: format!("{parent} is its own ancestor") });
        }
        manifests.push(cluster.manifest(&parent).await?);
    }
    manifests.reverse();
    Ok(manifests)
}

fn in_the_way(config: &RestoreConfig, summary: &Summary) -> Result<(Vec<Replaced>, bool), PhysicalError> {
    let directory = config.directory.clone();
    match (place::look(&directory, summary)?, config.existing) {
        (Place::Free, _) => Ok((Vec::new(), false)),
        (Place::Unfinished, _) => Ok((Vec::new(), true)),
        (Place::Taken, Existing::Refuse) => Err(PhysicalError::NotEmpty { directory }),
        (Place::Taken, Existing::KeepAside) => {
            let kept_as = Some(place::aside(&directory, Utc::now()));
            Ok((vec![Replaced { directory, kept_as }], false))
        }
        (Place::Taken, Existing::Overwrite) => Ok((vec![Replaced { directory, kept_as: None }], false)),
    }
}

fn tablespaces_in_the_way(
    places: &BTreeMap<u32, PathBuf>,
    config: &RestoreConfig,
    resumes: bool,
) -> Vec<Replaced> {
    let taken = places.values().filter(|place| {
        !resumes && std::fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_some())
    });
    let keeps = config.existing == Existing::KeepAside;
    let replaced = |place: &PathBuf| Replaced {
        directory: place.clone(),
        kept_as: keeps.then(|| place::aside(place, Utc::now())),
    };
    taken.map(replaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_ids_go_round() {
        assert!(is_before(5, 6) && !is_before(6, 6) && !is_before(7, 6));
        assert!(is_before(u32::MAX, 3) && !is_before(3, u32::MAX));
    }
}
