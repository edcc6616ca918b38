//! What can go wrong with a repository, and the way out.

use std::time::Duration;

use db_core::{Class, Classify};

use crate::backup_id::BackupId;
use crate::wal_name::WalName;

/// What a function of this crate returns.
pub type Result<T, E = BackupError> = std::result::Result<T, E>;

/// What went wrong with a repository. No variant shows a key or a passphrase.
///
/// ```
/// use db_backup::BackupError;
///
/// let error = BackupError::missing("clusters/7/backups/20261128T114200Z-full-9f1c04d2/manifest");
/// assert!(error.is_damage() && !error.is_temporary());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The store did not do it within the deadline, however often it was asked.
    #[error(
        "the store did not {action} {path} within {within:?}; is it reachable, and is BACKUP_STORE_DEADLINE long enough"
    )]
    Store {
        /// What was to be done.
        action: &'static str,
        /// To which object.
        path: String,
        /// How long it was tried.
        within: Duration,
        /// What the store said last.
        source: Box<object_store::Error>,
    },
    /// The store refused, and asking again would not help.
    #[error("the store refuses to {action} {path}; check the credentials and what they allow")]
    Denied {
        /// What was to be done.
        action: &'static str,
        /// To which object.
        path: String,
        /// What the store said.
        source: Box<object_store::Error>,
    },
    /// The store keeps the object: it is locked, or under a retention policy.
    #[error(
        "the store keeps {path} until its lock or retention is over; nothing removes it before, and expiry tries again"
    )]
    Retained {
        /// The object.
        path: String,
        /// What the store said.
        source: Box<object_store::Error>,
    },
    /// There is no room left where the store writes.
    #[error("the store has no room for {path}; free some, or let `dbctl backup expire` do it")]
    Full {
        /// The object that was to be written.
        path: String,
        /// What the store said.
        source: Box<object_store::Error>,
    },
    /// The store answers, but not as a repository needs it.
    #[error("the store cannot hold a repository: {what}; {way_out}")]
    Unsuitable {
        /// What it does not do.
        what: String,
        /// What to do about it.
        way_out: &'static str,
    },
    /// There is no repository where one was opened.
    #[error("there is no repository in {store}; `dbctl backup init` makes one")]
    NoRepository {
        /// Where.
        store: String,
    },
    /// There is a repository where one was to be made.
    #[error("there is a repository in {store} already; open it, or choose another prefix")]
    RepositoryExists {
        /// Where.
        store: String,
    },
    /// The key opens none of the repository's data keys.
    #[error(
        "the key opens none of the repository's data keys; set BACKUP_ENCRYPTION_KEY to the one that was set, or to the recovery key"
    )]
    WrongKey,
    /// A text that is no key.
    #[error("{0}; `dbctl backup init` prints keys as they must be written")]
    InvalidKey(&'static str),
    /// An object that is needed does not exist.
    #[error("{path} is missing; restore from a second repository, or from another backup")]
    Missing {
        /// Its path.
        path: String,
    },
    /// An object is not what was written.
    #[error("{path} is damaged: {what}; restore from a second repository, or from another backup")]
    Damaged {
        /// Its path.
        path: String,
        /// How that is known.
        what: String,
    },
    /// An object was written by a newer version.
    #[error("{path} is of format {found}, and this program reads up to {known}; use a newer one")]
    TooNew {
        /// Its path.
        path: String,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Another segment was archived under this name.
    #[error(
        "another {name} is in the repository already; two servers archive to one place, or a timeline was used twice: give each its own prefix"
    )]
    WalConflict {
        /// The name.
        name: WalName,
    },
    /// A segment that is not whole, or of another cluster.
    #[error("{name} was not stored: {what}; look at the server's archive_command and pg_wal")]
    UnfitWal {
        /// The name.
        name: WalName,
        /// What is wrong with it.
        what: String,
    },
    /// No such backup.
    #[error("there is no backup {0}; `dbctl backup list` prints those that exist")]
    NoBackup(BackupId),
    /// A backup that another one, or its own pin, keeps.
    #[error("{id} is kept: {why}")]
    Kept {
        /// The backup.
        id: BackupId,
        /// What needs it.
        why: String,
    },
    /// Somebody else holds the lock.
    #[error(
        "{holder} holds the lock {name} until {until}; wait for it, or see whether that process still runs"
    )]
    Locked {
        /// The lock.
        name: String,
        /// The holder's name for itself.
        holder: String,
        /// When it ends unless it is renewed.
        until: chrono::DateTime<chrono::Utc>,
    },
    /// The lease ran out, and somebody else may hold the lock now.
    #[error("the lease on the lock {0} was lost; what was begun under it must be given up")]
    LeaseLost(String),
    /// Something that this program's own caller did.
    #[error("{0}")]
    Misuse(&'static str),
    /// A task or thread of the pipeline ended without an answer.
    #[error("the pipeline ended early; the log says why")]
    PipelineEnded,
    /// Compression failed, or a local file.
    #[error("{action}: {source}")]
    Io {
        /// What was to be done.
        action: String,
        /// Why it was not.
        source: std::io::Error,
    },
}

impl BackupError {
    /// An object that is needed does not exist.
    pub fn missing(path: impl Into<String>) -> Self {
        BackupError::Missing { path: path.into() }
    }

    /// An object is not what was written.
    pub fn damaged(path: impl Into<String>, what: impl Into<String>) -> Self {
        BackupError::Damaged { path: path.into(), what: what.into() }
    }

    /// Something with a local file or a codec.
    pub fn io(action: impl Into<String>, source: std::io::Error) -> Self {
        BackupError::Io { action: action.into(), source }
    }

    /// Whether what is stored cannot be read as what was written: verification reports it, and never retries.
    /// A format that is too new counts, because a flipped bit can claim one.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            BackupError::Damaged { .. }
                | BackupError::Missing { .. }
                | BackupError::WalConflict { .. }
                | BackupError::TooNew { .. }
        )
    }

    /// Whether the same may succeed later without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            BackupError::Store { .. }
                | BackupError::Locked { .. }
                | BackupError::Full { .. }
                | BackupError::Retained { .. }
        )
    }
}

impl Classify for BackupError {
    fn class(&self) -> Class {
        match self {
            BackupError::Store { .. } => Class::Unavailable,
            BackupError::Locked { .. } => Class::Conflict,
            _ => Class::Permanent,
        }
    }
}
