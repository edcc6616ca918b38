//! What a repository of pgBackRest says it holds: stanzas, their clusters, their backups.

use std::fmt;

use chrono::{DateTime, Utc};
use db_core::Lsn;
use serde_json::Value;

use super::cipher::Passphrase;
use super::error::ImportError;
use super::info::{Info, Loaded};
use super::manifest::Listing;
use crate::manifest::WalRange;
use crate::store::Store;
use crate::wal_name::{Segment, WalName};

/// The oldest version whose backups a restore here can start: it is the oldest with recovery.signal that is
/// tried.
const OLDEST_MAJOR: u32 = 14;
/// Block incremental backups of earlier versions were a trial, in a form of their own.
const BLOCKS_SINCE: (u32, u32) = (2, 46);

/// A repository of pgBackRest's, of one stanza.
///
/// It is only read.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) store: Store,
    pub(super) stanza: String,
    /// What opens manifests.
    backups_key: Option<Passphrase>,
    /// What opens the log.
    pub(super) log_key: Option<Passphrase>,
    clusters: Vec<ClusterOf>,
    backups: Vec<Listed>,
    archives: Vec<(u64, u32, String)>,
    /// What may not be as it was meant.
    pub(super) warnings: Vec<String>,
}

/// How a backup of theirs was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// All files.
    Full,
    /// What changed since the last full one.
    Diff,
    /// What changed since the last one.
    Incr,
}

/// A cluster that the stanza has or had.
#[derive(Debug, Clone)]
struct ClusterOf {
    id: u64,
    system_identifier: u64,
    version: u32,
}

/// A backup in the list.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) label: String,
    pub(super) kind: BackupType,
    pub(super) prior: Option<String>,
    pub(super) system_identifier: u64,
    /// Its major version.
    pub(super) version: u32,
    pub(super) began: DateTime<Utc>,
    pub(super) ended: DateTime<Utc>,
    pub(super) standby: bool,
    /// The log that it needs; `None` where it was taken of a server that was stopped.
    pub(super) wal: Option<WalRange>,
    /// What its files and directories take.
    pub(super) bytes: u64,
}

impl fmt::Display for BackupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            BackupType::Full => "full",
            BackupType::Diff => "diff",
            BackupType::Incr => "incr",
        })
    }
}

impl Source {
    /// Opens what is in this store. Without a stanza's name there must be only one.
    ///
    /// # Errors
    /// [`ImportError::NoRepository`], [`ImportError::Stanza`], [`ImportError::NoPassphrase`],
    /// [`ImportError::WrongPassphrase`], [`ImportError::Damaged`]; those of the store.
    pub async fn open(
        store: Store,
        stanza: Option<&str>,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, ImportError> {
        let stanza = choose(&store, stanza).await?;
        let backups = load(&store, &format!("backup/{stanza}/backup.info"), passphrase).await?;
        let archive = load(&store, &format!("archive/{stanza}/archive.info"), passphrase).await?;
        let mut source = Source {
            store,
            stanza,
            backups_key: backups.info.passphrase.clone(),
            log_key: archive.info.passphrase.clone(),
            clusters: Vec::new(),
            backups: Vec::new(),
            archives: Vec::new(),
            warnings: Vec::new(),
        };
        for (name, loaded) in [("backup.info", &backups), ("archive.info", &archive)] {
            source.warn(name, loaded);
        }
        source.clusters = backups
            .info
            .section("db:history")
            .filter_map(|(id, value)| {
                let version = major(value.get("db-version")?.as_str()?)?;
                Some(ClusterOf {
                    id: id.parse().ok()?,
                    system_identifier: value.get("db-system-id")?.as_u64()?,
                    version,
                })
            })
            .collect();
        let archive_of = |(id, value): (&str, &Value)| {
            let version = value.get("db-version")?.as_str()?;
            // This file calls the system identifier `db-id`.
            Some((value.get("db-id")?.as_u64()?, major(version)?, format!("{version}-{id}")))
        };
        source.archives = archive.info.section("db:history").filter_map(archive_of).collect();
        for (label, value) in backups.info.section("backup:current") {
            let listed = source.listed(label, value);
            source.backups.push(listed.ok_or_else(|| {
                ImportError::damaged(
                    format!("{}/backup.info", source.stanza),
                    format!("it lists {label} in another form"),
                )
            })?);
        }
        source.backups.sort_by(|one, other| one.label.cmp(&other.label));
        Ok(source)
    }

    /// The stanza's name.
    pub fn stanza(&self) -> &str {
        &self.stanza
    }

    /// The labels of its backups, the oldest first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.backups.iter().map(|backup| backup.label.as_str())
    }

    /// The backups in the list, the oldest first.
    pub(super) fn backups(&self) -> &[Listed] {
        &self.backups
    }

    /// The directories of the archive that belong to a cluster.
    pub(super) fn archives(&self, system_identifier: u64, version: u32) -> Vec<String> {
        let of = self.archives.iter().filter(|(id, major, _)| (*id, *major) == (system_identifier, version));
        of.map(|(_, _, name)| format!("archive/{}/{name}", self.stanza)).collect()
    }

    /// The manifest of a backup.
    pub(super) async fn listing(&self, label: &str) -> Result<(Listing, Option<String>), ImportError> {
        let path = format!("backup/{}/{label}/backup.manifest", self.stanza);
        let loaded = load(&self.store, &path, self.backups_key.as_ref()).await?;
        let listing = Listing::of(&path, &loaded.info)?;
        let version = version_of(&loaded.info.version);
        if listing.blocks && version.is_none_or(|version| version < BLOCKS_SINCE) {
            return Err(ImportError::unsupported(
                path,
                "it was taken with the trial form of repo-block, before pgBackRest 2.46: take a full backup without it",
            ));
        }
        Ok((listing, loaded.damage))
    }

    fn listed(&self, label: &str, value: &Value) -> Option<Listed> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let number = |name: &str| value.get(name).and_then(Value::as_i64);
        let cluster = value.get("db-id")?.as_u64()?;
        let cluster = self.clusters.iter().find(|known| known.id == cluster)?;
        let kind = match text("backup-type")? {
            "full" => BackupType::Full,
            "diff" => BackupType::Diff,
            "incr" => BackupType::Incr,
            _ => return None,
        };
        let position = |name: &str| text(name).and_then(|text| text.parse::<Lsn>().ok());
        let stop_segment = text("backup-archive-stop").and_then(|name| name.parse::<WalName>().ok());
        let timeline = stop_segment.and_then(|name| name.segment()).map(|segment: Segment| segment.timeline);
        let range = position("backup-lsn-start").zip(position("backup-lsn-stop")).zip(timeline);
        let wal = range.map(|((start, stop), timeline)| WalRange { timeline, start, stop });
        Some(Listed {
            label: label.to_owned(),
            kind,
            prior: text("backup-prior").map(str::to_owned),
            system_identifier: cluster.system_identifier,
            version: cluster.version,
            began: DateTime::from_timestamp(number("backup-timestamp-start")?, 0)?,
            ended: DateTime::from_timestamp(number("backup-timestamp-stop")?, 0)?,
            standby: value.get("option-backup-standby").and_then(Value::as_bool).unwrap_or(false),
            wal,
            bytes: value.get("backup-info-size").and_then(Value::as_u64).unwrap_or(0),
        })
    }

    fn warn(&mut self, name: &str, loaded: &Loaded) {
        self.warnings.extend(
            loaded.damage.as_ref().map(|damage| format!("{name} was read from its copy, because {damage}")),
        );
    }
}

impl Listed {
    /// Why it cannot be imported, as far as the list tells.
    pub(super) fn refused(&self) -> Option<ImportError> {
        if self.version < OLDEST_MAJOR {
            let what = format!(
                "it is of PostgreSQL {}, and {OLDEST_MAJOR} is the oldest that is restored",
                self.version
            );
            return Some(ImportError::unsupported(&self.label, what));
        }
        if self.wal.is_none() {
            let what = "it was taken of a stopped server (--no-online) and names no log: take one of the running server";
            return Some(ImportError::unsupported(&self.label, what));
        }
        None
    }
}

async fn load(store: &Store, path: &str, passphrase: Option<&Passphrase>) -> Result<Loaded, ImportError> {
    let loaded = Info::load(store, path, passphrase).await?;
    loaded.ok_or_else(|| ImportError::damaged(path, "it is missing"))
}

async fn choose(store: &Store, named: Option<&str>) -> Result<String, ImportError> {
    let mut known = store.directories("backup").await?;
    if known.is_empty() {
        return Err(ImportError::NoRepository { store: store.to_string() });
    }
    match named {
        Some(named) if known.iter().any(|stanza| stanza == named) => Ok(named.to_owned()),
        None if known.len() == 1 => Ok(known.remove(0)),
        _ => Err(ImportError::Stanza { named: named.map(str::to_owned), known }),
    }
}

/// `15`, and `9` of `9.6`.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// The first two numbers of a version of pgBackRest.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let digits = |part: &str| part.bytes().take_while(u8::is_ascii_digit).count();
    let mut parts = text.split('.').map(|part| part[..digits(part)].parse::<u32>().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!((major("15"), major("9.6"), major("x")), (Some(15), Some(9), None));
        assert_eq!(version_of("2.60.0"), Some((2, 60)));
        assert_eq!(version_of("2.46dev"), Some((2, 46)));
        assert_eq!(version_of("3"), None);
    }
}
