//! What a command can fail with; each message stands for itself.

use std::path::{Path, PathBuf};

use db_platform::core::InvalidUrl;
use db_platform::core::settings::InvalidSettings;
use db_platform::{cache, migrations, seeds};

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
    #[error(transparent)]
    Check(Box<migrations::check::CheckError>),
    #[error(transparent)]
    Server(#[from] db_server::Error),
    #[error(transparent)]
    SecondTier(#[from] cache::TierError),
    #[error(transparent)]
    Cache(cache::RedisConfigError),
    #[error("REDIS_URL is not set, so the cache has no second tier: set it as the services have it")]
    NoSecondTier,
    #[error("the server's URL is not understood: {0}")]
    Url(InvalidUrl),
    #[error("{path} is not what `dbctl stats export` writes: {source}", path = path.display())]
    Stats { path: PathBuf, source: serde_json::Error },
    #[error("APP_ENV is not set, and this {does}: set it to the environment that this database belongs to")]
    NoEnvironment { does: &'static str },
    #[error("that is not the database's name: this {does}, so nothing was done; or set APP_ENV")]
    NotConfirmed { does: &'static str },
    #[error("the work was given up")]
    Interrupted,
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{name:?} is no name for a migration: letters, digits and _, as in create_users")]
    Name { name: String },
    #[error("the database is already as {file} says: no migration is needed", file = file.display())]
    NoDifference { file: PathBuf },
}

impl CliError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| CliError::File { path, source }
    }
}

impl From<migrations::check::CheckError> for CliError {
    fn from(error: migrations::check::CheckError) -> Self {
        CliError::Check(Box::new(error))
    }
}

impl From<seeds::Error> for CliError {
    fn from(error: seeds::Error) -> Self {
        CliError::Seed(Box::new(error))
    }
}
