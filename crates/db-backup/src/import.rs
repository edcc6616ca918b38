//! Reads repositories of pgBackRest and brings their backups and their log into ours, so that teams can move
//! over.
//!
//! Versions 2.45 to 2.60 are read: full, differential and incremental backups, bundles and block incremental
//! ones, compressed or not, encrypted or not. Each becomes a full backup of ours that has everything; what it
//! shares with the one that it was relative to is stored once. Every byte is held against the SHA-1 that
//! pgBackRest noted. Nothing is ever written to their repository.
//!
//! ```no_run
//! use db_backup::import::{self, ImportConfig, Passphrase, Source};
//! use db_backup::{Repository, Store};
//!
//! # async fn example(repository: Repository) -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::local("/var/lib/pgbackrest")?;
//! let source = Source::open(store, Some("main"), Some(&Passphrase::new("…"))).await?;
//! let config = ImportConfig::default();
//! let plan = import::plan(&source, &repository, &config).await?;
//! println!("{}", serde_json::to_string_pretty(&plan)?);
//! import::apply(&source, &repository, &config, &plan, &|_| ()).await?;
//! # Ok(())
//! # }
//! ```

mod apply;
mod blocks;
mod catalog;
mod cipher;
mod codec;
mod control;
mod decode;
mod error;
mod files;
mod info;
mod log;
mod manifest;
mod plan;

use crate::writer::WriterOptions;

pub use crate::settings::of_config;

pub use apply::{Imported, apply};
pub use catalog::{BackupType, Source};
pub use cipher::Passphrase;
pub use error::ImportError;
pub use plan::{Plan, PlannedBackup, PlannedLog, RefusedBackup, plan};

/// What is imported, and how it is stored.
///
/// ```
/// use db_backup::import::{Choice, ImportConfig};
///
/// let config = ImportConfig { backups: Choice::All, ..ImportConfig::default() };
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportConfig {
    /// Which backups. The log is imported from the oldest of them on.
    pub backups: Choice,
    /// How they are compressed, and by how many threads; as many files of the log are read at once.
    pub writer: WriterOptions,
}

/// Which backups are imported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// The newest one.
    #[default]
    Newest,
    /// All that can be.
    All,
    /// Those with these labels.
    Named(Vec<String>),
}
