//! Restores a physical backup: what will be done, doing it, and undoing it.
//!
//! First a plan, which touches nothing and refuses what would end short; then the files, of which only those
//! chunks are fetched that are not there yet; then the settings that make the server replay the log;
//! `pg_control` last, so that no server starts on half a restore.

mod apply;
mod collations;
mod combine;
mod configure;
mod layout;
mod owner;
mod place;
mod plan;
mod reach;
mod reached;
mod target;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::backup_id::BackupId;

pub use apply::{Restored, apply};
pub use collations::{AtRisk, Risks, risks};
pub use configure::{Tidied, tidy};
pub use place::undo;
pub use plan::{Plan, plan};
pub use reach::{Archive, Reach, Stretch, Unreachable};
pub use reached::{Reached, reached, reload};
pub use target::{AmbiguousTime, Target, TimelineChoice};

pub(crate) use owner::Owner;
pub(crate) use place::server_on;
pub(crate) use plan::chosen;

/// What is restored, to where, and up to which point.
///
/// ```
/// use db_backup::restore::{RestoreConfig, Target};
///
/// let config = RestoreConfig {
///     target: Target::at_time("2026-11-28T12:30:00Z")?,
///     restore_command: "dbctl wal fetch %f %p".to_owned(),
///     ..RestoreConfig::to("/var/lib/postgresql/15/restored")
/// };
/// # let _ = config;
/// # Ok::<(), db_backup::restore::AmbiguousTime>(())
/// ```
#[derive(Debug, Clone)]
pub struct RestoreConfig {
    /// The backup; `None` takes the newest one from which the target can be reached.
    pub backup: Option<BackupId>,
    /// Up to where the log is replayed.
    pub target: Target,
    /// Whether what lies exactly at the target is part of it.
    pub inclusive: bool,
    /// Which timeline is followed.
    pub timeline: TimelineChoice,
    /// The data directory.
    pub directory: PathBuf,
    /// Where tablespaces go, by OID; those that are not named go back to where they were.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Whether this becomes the cluster itself again, or a copy of it.
    pub purpose: Purpose,
    /// What becomes of a directory that is not empty.
    pub existing: Existing,
    /// What the server runs to get a file of the log, with %f and %p.
    pub restore_command: String,
    /// What the server does at the target.
    pub action: Action,
    /// Where configuration goes that lay outside the data directory; `None` leaves what is there.
    pub config_directory: Option<PathBuf>,
    /// The directory of PostgreSQL's programs, for incremental backups; `None` looks for those of the
    /// backup's version.
    pub programs: Option<PathBuf>,
    /// How many chunks are fetched and written at a time.
    pub workers: usize,
}

/// What a restored directory is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// A copy beside the original: it never archives, so that it cannot write into its source's repository.
    #[default]
    Copy,
    /// The cluster itself, which goes on archiving on a new timeline.
    InPlace,
}

/// What becomes of a directory that is not empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// The restore is refused.
    #[default]
    Refuse,
    /// It is moved aside, and [`undo`] brings it back. What it has in common with the backup is copied from
    /// it.
    KeepAside,
    /// It is overwritten: only what differs is fetched, and nothing can be undone.
    Overwrite,
}

/// What the server does when it has reached the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    /// It takes writes, on a new timeline.
    #[default]
    Promote,
    /// It answers reads and waits, so that somebody can look whether this is the point.
    Pause,
    /// It ends.
    Shutdown,
}

impl RestoreConfig {
    /// The newest backup to this directory as a copy, to the end of the log.
    pub fn to(directory: impl Into<PathBuf>) -> Self {
        RestoreConfig {
            backup: None,
            target: Target::Latest,
            inclusive: true,
            timeline: TimelineChoice::Newest,
            directory: directory.into(),
            tablespaces: BTreeMap::new(),
            purpose: Purpose::Copy,
            existing: Existing::Refuse,
            restore_command: "dbctl wal fetch %f %p".to_owned(),
            action: Action::Promote,
            config_directory: None,
            programs: None,
            workers: 2,
        }
    }
}
