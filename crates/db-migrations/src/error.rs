//! What can go wrong with migrations, and the way out of each.

use std::path::PathBuf;
use std::time::Duration;

use db_core::{Class, Classify, Error};

use crate::source::Version;

/// What went wrong with a migration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A directory's name does not begin with a version.
    #[error("{path} is no migration: its name must be VERSION_NAME, as in 2026-11-02-090000_create_users", path = path.display())]
    Name {
        /// The directory.
        path: PathBuf,
    },
    /// Two directories have one version; diesel would silently run only one of them.
    #[error("{first} and {second} both have version {version}: rename one", first = first.display(), second = second.display())]
    DuplicateVersion {
        /// The version.
        version: Version,
        /// The first directory.
        first: PathBuf,
        /// The second directory.
        second: PathBuf,
    },
    /// A metadata.toml that says nothing, or something unknown; diesel would silently turn the transaction off.
    #[error("{path}: {reason}; write run_in_transaction = true or false, or remove the file", path = path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to undo.
    #[error("nothing to undo: no migration is applied")]
    NothingApplied,
    /// The newest applied migration is not among the files.
    #[error("migration {version} is applied but not in the directory: undo it from the branch that has it")]
    Unknown {
        /// The version.
        version: Version,
    },
    /// The migration has no down.sql.
    #[error("migration {version}_{name} has no down.sql, so it cannot be undone")]
    NoDown {
        /// The version.
        version: Version,
        /// The name.
        name: String,
    },
    /// Another runner holds the lock.
    #[error(
        "another runner has been migrating this database for more than {waited:?}: wait for it, or look for its session in pg_stat_activity"
    )]
    Locked {
        /// How long we waited.
        waited: Duration,
    },
    /// The server refused the migration's SQL.
    #[error("{file} failed: {source}{hint}", file = file.display(), hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default())]
    Sql {
        /// The file.
        file: PathBuf,
        /// What the server said.
        source: Box<Error>,
        /// What to do about it.
        hint: Option<&'static str>,
    },
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] Error),
}

impl From<diesel::result::Error> for MigrationError {
    fn from(error: diesel::result::Error) -> Self {
        MigrationError::Database(error.into())
    }
}

impl Classify for MigrationError {
    fn class(&self) -> Class {
        match self {
            MigrationError::Sql { source, .. } => source.class(),
            MigrationError::Database(source) => source.class(),
            MigrationError::Locked { .. } => Class::Overloaded,
            _ => Class::Permanent,
        }
    }
}
