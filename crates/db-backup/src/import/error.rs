//! What can go wrong while a repository of pgBackRest is read, and the way out of each.

use db_core::{Class, Classify};

use crate::error::BackupError;
use crate::wal::WalError;
use crate::wal_name::Segment;

/// What went wrong during an import. No variant shows a passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A store, or our own repository.
    #[error(transparent)]
    Repository(#[from] BackupError),
    /// A history file of theirs.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// There is no repository of pgBackRest there.
    #[error("there is no pgBackRest repository in {store}: name the directory that repo1-path names")]
    NoRepository {
        /// Where it was looked for.
        store: String,
    },
    /// There is no such stanza, or there are several.
    #[error("{}; there are {}", named.as_ref().map_or_else(|| "say which stanza is meant".to_owned(), |named| format!("there is no stanza {named:?}")), known.join(", "))]
    Stanza {
        /// The one that was named.
        named: Option<String>,
        /// Those that are there.
        known: Vec<String>,
    },
    /// There is no such backup.
    #[error("there is no backup {label:?} in the stanza, which has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    NoBackup {
        /// The one that was named.
        label: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// The repository is encrypted and no passphrase was given.
    #[error("{path} is encrypted: set PGBACKREST_REPO1_CIPHER_PASS to what repo1-cipher-pass is")]
    NoPassphrase {
        /// The object.
        path: String,
    },
    /// The passphrase opens nothing.
    #[error(
        "the passphrase does not open {path}: set PGBACKREST_REPO1_CIPHER_PASS to what repo1-cipher-pass is"
    )]
    WrongPassphrase {
        /// The object.
        path: String,
    },
    /// An object is not what pgBackRest wrote.
    #[error("{path} is damaged: {what}; import another backup, and see what `pgbackrest verify` says")]
    Damaged {
        /// The object, or the file in it.
        path: String,
        /// How that is known.
        what: String,
    },
    /// The repository uses something that is not read.
    #[error("{path} cannot be imported: {what}")]
    Unsupported {
        /// The backup or object.
        path: String,
        /// What it uses, and what to do instead.
        what: String,
    },
    /// A backup whose log is not there cannot be restored, so it is not imported.
    #[error("backup {label} cannot be imported: {segment}, which it needs, is not in the archive")]
    NoLog {
        /// The backup.
        label: String,
        /// The first segment that is missing.
        segment: Segment,
    },
}

impl ImportError {
    pub(super) fn damaged(path: impl Into<String>, what: impl Into<String>) -> Self {
        ImportError::Damaged { path: path.into(), what: what.into() }
    }

    pub(super) fn unsupported(path: impl Into<String>, what: impl Into<String>) -> Self {
        ImportError::Unsupported { path: path.into(), what: what.into() }
    }

    /// Whether what is stored there cannot be read as what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            ImportError::Repository(error) => error.is_damage(),
            ImportError::Damaged { .. } => true,
            _ => false,
        }
    }
}

impl Classify for ImportError {
    fn class(&self) -> Class {
        match self {
            ImportError::Repository(error) => error.class(),
            _ => Class::Permanent,
        }
    }
}
