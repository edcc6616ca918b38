//! What a command can fail with; each message stands for itself.

use std::path::PathBuf;

use db_platform::core::settings::InvalidSettings;
use db_platform::{migrations, seeds};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    #[error(transparent)]
    Database(#[from] db_platform::Error),
    #[error(transparent)]
    Migration(#[from] migrations::MigrationError),
    #[error(transparent)]
    Seed(Box<seeds::Error>),
    #[error("cannot read {path}: {source}", path = path.display())]
    UrlFile { path: PathBuf, source: std::io::Error },
}

impl From<seeds::Error> for CliError {
    fn from(error: seeds::Error) -> Self {
        CliError::Seed(Box::new(error))
    }
}
