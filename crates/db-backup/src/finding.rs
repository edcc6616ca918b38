//! What verification can find, and how it reads.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::backup_id::BackupId;
use crate::wal_name::{Segment, WalName};

/// Something that is wrong with a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A manifest is not what was written: the backup cannot be restored from this repository.
    ManifestDamaged {
        /// The backup's name.
        id: String,
        /// How that is known.
        why: String,
    },
    /// An object that holds chunks is missing or not what was written.
    PackDamaged {
        /// Its path.
        path: String,
        /// The backups that need it.
        needed_by: Vec<BackupId>,
        /// How that is known.
        why: String,
    },
    /// The backup on which an incremental one builds is not there.
    ParentMissing {
        /// The incremental backup.
        id: BackupId,
        /// What it builds on.
        parent: BackupId,
    },
    /// A file of the write-ahead log is not what was written, or of another cluster.
    WalDamaged {
        /// Its name.
        name: WalName,
        /// How that is known.
        why: String,
    },
    /// Two different files came under one name.
    WalConflict {
        /// The name.
        name: WalName,
    },
    /// Segments are not there although what is behind them is, or although a backup needs them.
    WalMissing {
        /// The first.
        from: Segment,
        /// The last.
        to: Segment,
        /// The backup that is not consistent without them; `None` where it is recovery that cannot go on.
        needed_by: Option<BackupId>,
    },
    /// It is not known where a timeline branched off.
    HistoryMissing {
        /// The timeline.
        timeline: u32,
    },
    /// The newest backup is older than it may be, or there is none.
    TooOld {
        /// When it ended.
        newest: Option<DateTime<Utc>>,
        /// How old it may be.
        within: Duration,
    },
    /// Nothing was archived for longer than it may take.
    WalLate {
        /// When the newest came.
        newest: Option<DateTime<Utc>>,
        /// How long ago it may be.
        within: Duration,
    },
    /// An entry of the audit log is not what was written.
    AuditDamaged {
        /// Its path.
        path: String,
    },
}

impl Finding {
    /// Whether something is damaged or missing; else something is only late.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Finding::TooOld { .. } | Finding::WalLate { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Option<DateTime<Utc>>| time.map_or("never".to_owned(), |time| time.to_rfc3339());
        match self {
            Finding::ManifestDamaged { id, why } => write!(f, "the backup {id} cannot be restored: {why}"),
            Finding::PackDamaged { path, needed_by, why } => {
                let ids: Vec<&str> = needed_by.iter().map(BackupId::as_str).collect();
                write!(f, "{why}; {path} is part of {}", ids.join(", "))
            }
            Finding::ParentMissing { id, parent } => write!(f, "{id} builds on {parent}, which is not there"),
            Finding::WalDamaged { name, why } => write!(f, "{name} cannot be replayed: {why}"),
            Finding::WalConflict { name } => write!(f, "two different files came as {name}"),
            Finding::WalMissing { from, to, needed_by } => {
                write!(f, "{from} to {to} are missing; {} needs them", shown(needed_by.as_ref()))
            }
            Finding::HistoryMissing { timeline } => write!(f, "{timeline:08X}.history is missing"),
            Finding::TooOld { newest, within } => {
                write!(f, "the newest backup ended {}, and may be {within:?} old", time(newest))
            }
            Finding::WalLate { newest, within } => {
                write!(f, "the last segment came {}, and may be {within:?} ago", time(newest))
            }
            Finding::AuditDamaged { path } => write!(f, "{path} is not what was written"),
        }
    }
}

/// What cannot do without missing segments.
fn shown(needed_by: Option<&BackupId>) -> String {
    needed_by.map_or_else(|| "recovery across them".to_owned(), |id| format!("the backup {id}"))
}
