//! What can go wrong with physical backups, their log and their restores, and the way out of each.

use std::path::PathBuf;
use std::time::Duration;

use db_core::{Class, Classify};

use crate::backup_id::BackupId;
use crate::error::BackupError;
use crate::restore::Unreachable;
use crate::session::SessionError;
use crate::wal::WalError;
use crate::wal_name::Segment;

/// What went wrong while a cluster was backed up, archived, restored or rehearsed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhysicalError {
    /// The repository, or a local file.
    #[error(transparent)]
    Repository(#[from] BackupError),
    /// The server.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A file of the log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The target cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server is too old.
    #[error(
        "the server has version {major}, and physical backups need 15 or later: upgrade it, or take logical backups"
    )]
    TooOld {
        /// Its major version.
        major: u32,
    },
    /// The server ends long sessions.
    #[error(
        "the server would end this session early: {}; ALTER ROLE … SET them to 0 for the role that takes backups",
        settings.join(", ")
    )]
    Timeouts {
        /// The settings in force.
        settings: Vec<String>,
    },
    /// What the server sent is no backup.
    #[error("the server's stream cannot be read: {reason}; run it again, and report it if it happens twice")]
    Stream {
        /// What is wrong with it.
        reason: String,
    },
    /// An incremental backup needs a later server, or a setting of it.
    #[error("no incremental backup can be taken: {reason}")]
    NoIncremental {
        /// Why not, and what to do.
        reason: String,
    },
    /// The log that the backup needs did not come into the archive.
    #[error(
        "{segment} was not archived within {waited:?}{}: the backup needs it and was not published; look at the server's \
         archive_command, or take the log along with the backup", failure.as_ref().map(|said| format!(" ({said})")).unwrap_or_default()
    )]
    NotArchived {
        /// The first segment that is missing.
        segment: Segment,
        /// How long it was waited for.
        waited: Duration,
        /// What the server says of its archiver.
        failure: Option<String>,
    },
    /// There is no backup from which the target can be reached.
    #[error("no backup leads to {target}{}", nearest.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NoWay {
        /// The target in words.
        target: String,
        /// Why the nearest backup does not.
        nearest: Option<String>,
    },
    /// A logical backup was named where a physical one is needed.
    #[error("{0} is a dump and no physical backup: restore it with `dbctl backup restore --logical`")]
    NotPhysical(BackupId),
    /// A server runs on the directory.
    #[error("{} is in use by the server with pid {pid}: stop it first", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The server's pid.
        pid: u32,
    },
    /// The directory is not empty.
    #[error(
        "{} is not empty: name another directory, or overwrite it with --force, which keeps a copy for --undo",
        directory.display()
    )]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory holds another cluster.
    #[error("{} holds the cluster {found}, and the backup is of {expected}: name another directory", directory.display())]
    OtherCluster {
        /// The directory.
        directory: PathBuf,
        /// The system identifier there.
        found: u64,
        /// The backup's.
        expected: u64,
    },
    /// A tablespace has no place to go to.
    #[error(
        "tablespace {oid} was in {location}, which is not empty: say where it goes with --tablespace {oid}=DIRECTORY"
    )]
    TablespaceInUse {
        /// Its OID.
        oid: u32,
        /// Where it was.
        location: String,
    },
    /// There is nothing to undo.
    #[error("there is no copy from before a restore beside {}: nothing to undo", directory.display())]
    NothingToUndo {
        /// The directory.
        directory: PathBuf,
    },
    /// A program of PostgreSQL's failed.
    #[error("{program}: {said}")]
    Program {
        /// The program.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// A program of PostgreSQL's could not be found.
    #[error("no PostgreSQL {major} programs: {reason}; name their directory with DB_PLATFORM_PG_BIN")]
    NoPrograms {
        /// The major version.
        major: u32,
        /// What was looked for.
        reason: String,
    },
    /// The restored server ended before it reached the target.
    #[error(
        "the server on {} ended before it reached the target: its log says why; start it again once that is mended",
        directory.display()
    )]
    Ended {
        /// The directory.
        directory: PathBuf,
    },
    /// The settings of a restore are still needed.
    #[error(
        "the server on {} has not reached the target of its restore, and needs the settings until then: start it, and wait \
         for it with --wait",
        directory.display()
    )]
    StillRecovers {
        /// The directory.
        directory: PathBuf,
    },
    /// The restored server did not get as far in time.
    #[error("the restored server was not ready within {waited:?}: {said}")]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// What it answers, or the end of its log.
        said: String,
    },
}

impl PhysicalError {
    /// Something with a local file.
    pub(crate) fn io(action: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> PhysicalError {
        move |source| PhysicalError::Repository(BackupError::io(action.to_string(), source))
    }

    /// What a directory or file could not be used for.
    pub(crate) fn at(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> PhysicalError + use<> {
        let path = path.to_owned();
        move |source| {
            PhysicalError::Repository(BackupError::io(format!("cannot {action} {}", path.display()), source))
        }
    }
}

impl Classify for PhysicalError {
    fn class(&self) -> Class {
        match self {
            PhysicalError::Repository(error) => error.class(),
            PhysicalError::Session(error) => error.class(),
            PhysicalError::NotArchived { .. } => Class::Unavailable,
            _ => Class::Permanent,
        }
    }
}
