//! Why a check could not be carried out. What a check finds is no error: it is in the report.

use std::path::PathBuf;

use db_core::{Class, Classify, Error};

use crate::error::MigrationError;

/// Why a check could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A database of the check's own could not be made, reached or dropped.
    #[error("cannot {doing}: {source}")]
    Server {
        /// What was being done.
        doing: String,
        /// What the server said.
        source: Box<Error>,
    },
    /// The migrations cannot be read.
    #[error(transparent)]
    Migrations(#[from] MigrationError),
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] Error),
    /// The server gave an answer that this version does not understand.
    #[error("the server's answer is not understood: {0}")]
    Answer(String),
    /// A migration that the check needs cannot be applied.
    #[error("{file}:{line}: {message}", file = file.display())]
    Failed {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// What the server said.
        message: String,
    },
    /// What was to be there before the first migration could not be made.
    #[error("the SQL that runs before the first migration is refused: {source}")]
    Before {
        /// What the server said.
        source: Box<Error>,
    },
    /// It was told to stop.
    #[error("stopped; the databases of the check are dropped")]
    Stopped,
    /// Schemas are printed differently by other versions.
    #[error("the database is on PostgreSQL {live} and the check on {here}: check on the same major version")]
    OtherVersion {
        /// The version of the database that is compared.
        live: String,
        /// The version that the check runs on.
        here: String,
    },
    /// The history cannot be asked.
    #[error("git {command}: {reason}")]
    Git {
        /// What was asked.
        command: String,
        /// What git said.
        reason: String,
    },
    /// A version was asked for that is not in the directory.
    #[error("there is no migration {version} in the directory: name one of its versions")]
    NoSuchVersion {
        /// What was asked for.
        version: String,
    },
}

impl CheckError {
    pub(crate) fn server(doing: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let doing = doing.into();
        move |source| CheckError::Server { doing, source: Box::new(source) }
    }
}

impl From<diesel::result::Error> for CheckError {
    fn from(error: diesel::result::Error) -> Self {
        CheckError::Database(error.into())
    }
}

impl Classify for CheckError {
    fn class(&self) -> Class {
        match self {
            CheckError::Server { source, .. } | CheckError::Before { source } => source.class(),
            CheckError::Migrations(source) => source.class(),
            CheckError::Database(source) => source.class(),
            _ => Class::Permanent,
        }
    }
}
