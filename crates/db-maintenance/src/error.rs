//! Why upkeep was not done.

use std::path::PathBuf;
use std::time::Duration;

use db_core::{Class, Classify, SqlState};

/// What upkeep answers.
pub type Result<T, E = MaintenanceError> = std::result::Result<T, E>;

/// Why upkeep could not be planned or done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// The text names no table.
    #[error("{text:?} names no table: write schema.table, with double quotes where SQL needs them")]
    Name {
        /// The text.
        text: String,
    },
    /// A policy contradicts itself, or the catalog.
    #[error("{place}: {why}")]
    Policy {
        /// The file, or the table that the policy is for.
        place: String,
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What was to be done is not safe here, and was not done.
    #[error("{what}: {why}")]
    Refused {
        /// What was to be done, and to which table.
        what: String,
        /// Why not, and the way out.
        why: String,
    },
    /// The lock was not to be had in time: others go on, and the next run tries again.
    #[error("{what}: no lock within {waited:?} in {attempts} attempts; the next run tries again")]
    Busy {
        /// What was to be done, and to which table.
        what: String,
        /// How long one attempt waited.
        waited: Duration,
        /// How often it was tried.
        attempts: u32,
    },
    /// What was planned is no longer what is there.
    #[error("{what}: {why}; plan again")]
    Changed {
        /// What was to be done, and to which table.
        what: String,
        /// What is different.
        why: String,
    },
    /// The archive did not take the rows, or gave back others.
    #[error("archive {name}: {why}")]
    Archive {
        /// The object.
        name: String,
        /// What went wrong.
        why: String,
    },
    /// A step failed on the server.
    #[error("{what}: {}", said(source))]
    Step {
        /// What was to be done, and to which table.
        what: String,
        /// What the server said.
        source: tokio_postgres::Error,
    },
    /// The connection, or the server.
    #[error("{}", said(.0))]
    Server(#[from] tokio_postgres::Error),
}

/// What the server said, without its detail: that may hold values of rows.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => match db.hint() {
            Some(hint) => format!("{} ({}); {hint}", db.message(), db.code().code()),
            None => format!("{} ({})", db.message(), db.code().code()),
        },
        None => error.to_string(),
    }
}

impl MaintenanceError {
    pub(crate) fn step(what: &str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.to_owned();
        move |source| MaintenanceError::Step { what, source }
    }

    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        MaintenanceError::Refused { what: what.into(), why: why.into() }
    }

    pub(crate) fn changed(what: impl Into<String>, why: impl Into<String>) -> Self {
        MaintenanceError::Changed { what: what.into(), why: why.into() }
    }

    pub(crate) fn policy(place: impl ToString, why: impl Into<String>) -> Self {
        MaintenanceError::Policy { place: place.to_string(), why: why.into() }
    }

    /// Whether there was no room on the server's disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        let MaintenanceError::Step { source, .. } = self else { return false };
        source.code() == Some(&tokio_postgres::error::SqlState::DISK_FULL)
    }

    /// Whether the connection is gone, so that nothing else can be done on it.
    pub fn is_disconnected(&self) -> bool {
        match self {
            MaintenanceError::Step { source, .. } | MaintenanceError::Server(source) => source.is_closed(),
            _ => false,
        }
    }
}

impl Classify for MaintenanceError {
    fn class(&self) -> Class {
        match self {
            MaintenanceError::Busy { .. } | MaintenanceError::Changed { .. } => Class::Conflict,
            MaintenanceError::Archive { .. } => Class::Unavailable,
            MaintenanceError::Step { .. } | MaintenanceError::Server(_) => {
                self.code().map_or(Class::Unavailable, |code| code.class())
            }
            _ => Class::Permanent,
        }
    }

    fn code(&self) -> Option<SqlState> {
        match self {
            MaintenanceError::Step { source, .. } | MaintenanceError::Server(source) => {
                source.code().and_then(|code| code.code().parse().ok())
            }
            _ => None,
        }
    }
}
