//! Opens the repository that the settings name, and finds out whose backups are meant.

use std::collections::HashMap;

use db_platform::backup::{
    BackupError, BackupId, Cluster, Compression, HookSettings, KeySettings, Provider, Repository,
    RetentionPolicy, Store, StoreSettings, Summary,
};
use db_platform::settings_from_vars;

use crate::args::Options;
use crate::error::CliError;
use crate::vars;

/// What the clouds' own clients are told by name.
const CREDENTIALS: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
];

/// The settings of backups.
pub(crate) struct BackupSettings {
    pub(crate) store: StoreSettings,
    pub(crate) keys: KeySettings,
    pub(crate) compression: Compression,
    pub(crate) retention: RetentionPolicy,
    pub(crate) hooks: HookSettings,
}

impl BackupSettings {
    pub(crate) fn read(options: &Options) -> Result<Self, CliError> {
        BackupSettings::of(vars::all(options)?)
    }

    pub(crate) fn of(vars: HashMap<String, String>) -> Result<Self, CliError> {
        let credentials = CREDENTIALS.map(|name| Some((name.to_ascii_lowercase(), vars.get(name)?.clone())));
        let mut settings = settings_from_vars(vars, |from| BackupSettings {
            store: from.get(),
            keys: from.get(),
            compression: from.get(),
            retention: from.get(),
            hooks: from.get(),
        })?;
        // The cloud's client reads the process's environment, and these may stand in the file of settings
        // only.
        let cloud = match settings.store.provider {
            Provider::Local => "none",
            Provider::S3 => "aws_",
            Provider::Gcs => "google_",
            Provider::Azure => "azure_",
        };
        let credentials = credentials.into_iter().flatten().filter(|(name, _)| name.starts_with(cloud));
        settings.store.options.extend(credentials);
        Ok(settings)
    }

    pub(crate) fn store(&self) -> Result<Store, CliError> {
        Ok(Store::open(&self.store)?)
    }

    /// The repository, to read and to write.
    pub(crate) async fn open(&self) -> Result<Repository, CliError> {
        let keys = self.keys.keys.as_ref().ok_or(CliError::NoKey)?;
        Ok(Repository::open(self.store()?, keys).await?)
    }

    /// The repository, to add to it: with a writer's key where there is one, which needs no right to read.
    pub(crate) async fn open_to_add(&self) -> Result<Repository, CliError> {
        match (&self.keys.writer, &self.keys.keys) {
            (Some(writer), _) => Ok(Repository::open_to_write(self.store()?, writer)),
            (None, _) => self.open().await,
        }
    }
}

/// The cluster that is meant: the one that is named, or the only one.
pub(crate) async fn cluster(repository: &Repository, named: Option<u64>) -> Result<Cluster, CliError> {
    if let Some(id) = named {
        return Ok(repository.cluster(id));
    }
    match repository.clusters().await?.as_slice() {
        [] => Err(CliError::NoBackups),
        [only] => Ok(repository.cluster(*only)),
        several => Err(CliError::SeveralClusters {
            known: several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The backup that a text names: its whole name, or a beginning that only one has.
pub(crate) async fn backup(cluster: &Cluster, named: &str) -> Result<Summary, CliError> {
    let whole = cluster.backups().await?.whole;
    let mut matching = whole.into_iter().filter(|summary| summary.id.as_str().starts_with(named));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(CliError::SeveralBackups { named: named.to_owned() }),
        (None, _) => {
            let id: BackupId =
                named.parse().map_err(|_| CliError::NoSuchBackup { named: named.to_owned() })?;
            Err(BackupError::NoBackup(id).into())
        }
    }
}
