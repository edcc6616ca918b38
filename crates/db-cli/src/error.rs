//! What a command can fail with; each message stands for itself.

use std::path::{Path, PathBuf};

use db_platform::backup::import::ImportError;
use db_platform::backup::{BackupError, PhysicalError};
use db_platform::core::InvalidUrl;
use db_platform::core::settings::InvalidSettings;
use db_platform::notify::InvalidChannel;
use db_platform::schedule::{InvalidCron, SchedulerError};
use db_platform::{cache, insight, maintenance, migrations, seeds};
use serde_json::{Value, json};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    #[error(transparent)]
    Database(#[from] db_platform::Error),
    #[error(transparent)]
    Migration(#[from] migrations::MigrationError),
    #[error(transparent)]
    Backfill(Box<migrations::backfill::BackfillError>),
    #[error(transparent)]
    Maintenance(Box<maintenance::MaintenanceError>),
    #[error(
        "no policy says which tables are kept in partitions: name its file with --policy, or set PARTITION_POLICY"
    )]
    NoPolicy,
    #[error(transparent)]
    Change(#[from] migrations::online_change::ChangeError),
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
    #[error("there is no rule {rule}: dbctl migrate rules lists them")]
    NoSuchRule { rule: String },
    #[error("APP_ENV is not set, and this {does}: set it to the environment that this database belongs to")]
    NoEnvironment { does: &'static str },
    #[error("that is not the database's name: this {does}, so nothing was done; or set APP_ENV")]
    NotConfirmed { does: &'static str },
    #[error("{path}: {source}", path = path.display())]
    Trace { path: PathBuf, source: insight::repeats::InvalidTrace },
    #[error("{path}: {source}", path = path.display())]
    Plan { path: PathBuf, source: insight::NotAPlan },
    #[error("{path}: {source}", path = path.display())]
    Workload { path: PathBuf, source: insight::indexes::InvalidWorkload },
    #[error("{path}: {source}", path = path.display())]
    Accepted { path: PathBuf, source: insight::indexes::InvalidAdvice },
    #[error("nothing of the advice is left to apply: --only names {named}, and it has {known}")]
    NothingAccepted { named: String, known: String },
    #[error(
        "there is no workload: name a file with --workload, or load pg_stat_statements (`dbctl monitor setup` says how)"
    )]
    NoStatements,
    #[error(transparent)]
    Introspect(#[from] insight::introspect::IntrospectError),
    #[error("there is no table {name:?}")]
    NoTable { name: String },
    #[error(transparent)]
    Advice(#[from] insight::indexes::AdviceError),
    #[error(transparent)]
    Explain(Box<insight::ExplainError>),
    #[error("the work was given up")]
    Interrupted,
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{name:?} is no name for a migration: letters, digits and _, as in create_users")]
    Name { name: String },
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Physical(Box<PhysicalError>),
    #[error(transparent)]
    Import(Box<ImportError>),
    #[error(transparent)]
    Channel(#[from] InvalidChannel),
    #[error(transparent)]
    Cron(#[from] InvalidCron),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    #[error("{path}: line {line} is not NAME=value", path = path.display())]
    SettingsFile { path: PathBuf, line: usize },
    #[error(
        "BACKUP_ENCRYPTION_KEY is not set, and nothing opens the repository without it; `dbctl backup init` makes one"
    )]
    NoKey,
    #[error("the repository holds no backup yet; `dbctl backup take` takes one")]
    NoBackups,
    #[error("the repository holds several clusters: say which with --cluster; there are {known}")]
    SeveralClusters { known: String },
    #[error("no backup begins with {named:?}; `dbctl backup list` prints them")]
    NoSuchBackup { named: String },
    #[error("several backups begin with {named:?}: write more of the name")]
    SeveralBackups { named: String },
    #[error("there is no backup that an incremental one could be relative to; take a full one first")]
    NoParent,
    #[error("there is no dump in the repository; `dbctl backup take --logical` takes one")]
    NoDump,
    #[error("say with --to which directory is meant")]
    NoDirectory,
    #[error("{name} {why}")]
    Hook { name: &'static str, why: String },
    #[error(
        "a server that ends at its target cannot be asked which it reached: leave --wait out, or take --then pause"
    )]
    NothingToAsk,
    #[error("{what}: say {flag} where nobody is at the terminal")]
    NotAgreed { what: &'static str, flag: &'static str },
    #[error("{0}")]
    Target(String),
    #[error("{0}")]
    Usage(&'static str),
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Upkeep(String),
    #[error("no channel is set: set NOTIFICATION_EMAIL or NOTIFICATION_WEBHOOK")]
    NoChannel,
    #[error(
        "there is nothing to schedule: set BACKUP_SCHEDULE, as in \"30 2 * * *\", \
         PARTITION_POLICY, or MAINTENANCE_SCHEDULE"
    )]
    NoJobs,
    /// What could not be looked at, and why.
    #[error("{0}")]
    NotKnown(String),
    #[error("there is no check {name:?}; there are {known}")]
    NoSuchCheck { name: String, known: String },
    #[error("metrics cannot be answered on {address}: {source}; take another address with --metrics, or off")]
    Metrics { address: std::net::SocketAddr, source: std::io::Error },
    #[error("pages cannot be served on {address}: {source}; take another address with --listen")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Dashboard(String),
    #[error("{path} is not what `dbctl report --format json` writes: {source}", path = path.display())]
    EarlierReport { path: PathBuf, source: serde_json::Error },
    #[error("the server did not answer: {0}")]
    NotAnswered(String),
    #[error("the database is already as {file} says: no migration is needed", file = file.display())]
    NoDifference { file: PathBuf },
    #[error("patterns of tables need --only-tables or --except-tables beside them")]
    PatternsOfTables,
}

impl CliError {
    /// The exit status: 3 damage, 4 a gap in the log, 5 somebody else has the lock, 6 the store, 7 an unsafe
    /// target; 1 for all else.
    pub(crate) fn status(&self) -> u8 {
        match self {
            CliError::Backup(error) => of_backup(error),
            CliError::Physical(error) => of_physical(error),
            CliError::Import(error) => of_import(error),
            CliError::Damaged(_) => 3,
            CliError::Usage(_) | CliError::NoPolicy => 2,
            CliError::NoSuchCheck { .. } => 2,
            _ => 1,
        }
    }

    /// The error as a value, for --json: its text, and what programs look for as fields.
    pub(crate) fn value(&self) -> Value {
        match self {
            CliError::Migration(error) => CliError::of_migration(error),
            other => json!({ "error": other.to_string() }),
        }
    }

    /// An error of a migration as a value: beside its text the file, the line, the statement, the code and
    /// the way out.
    pub(crate) fn of_migration(error: &migrations::MigrationError) -> Value {
        let mut value = json!({ "error": error.to_string() });
        if let Some(place) = error.place() {
            value["file"] = place.file.display().to_string().into();
            value["line"] = place.line.into();
            value["statement"] = place.statement.into();
            value["sqlstate"] = place.sqlstate.map(|code| code.as_str().to_owned()).into();
            value["hint"] = place.hint.into();
        }
        value
    }

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

impl From<migrations::backfill::BackfillError> for CliError {
    fn from(error: migrations::backfill::BackfillError) -> Self {
        CliError::Backfill(Box::new(error))
    }
}

impl From<maintenance::MaintenanceError> for CliError {
    fn from(error: maintenance::MaintenanceError) -> Self {
        CliError::Maintenance(Box::new(error))
    }
}

impl From<insight::ExplainError> for CliError {
    fn from(error: insight::ExplainError) -> Self {
        CliError::Explain(Box::new(error))
    }
}

impl From<seeds::Error> for CliError {
    fn from(error: seeds::Error) -> Self {
        CliError::Seed(Box::new(error))
    }
}

impl From<PhysicalError> for CliError {
    fn from(error: PhysicalError) -> Self {
        CliError::Physical(Box::new(error))
    }
}

impl From<ImportError> for CliError {
    fn from(error: ImportError) -> Self {
        CliError::Import(Box::new(error))
    }
}

fn of_import(error: &ImportError) -> u8 {
    match error {
        ImportError::Repository(error) => of_backup(error),
        ImportError::NoLog { .. } => 4,
        error if error.is_damage() => 3,
        _ => 1,
    }
}

fn of_backup(error: &BackupError) -> u8 {
    match error {
        error if error.is_damage() => 3,
        BackupError::Locked { .. } | BackupError::LeaseLost(_) => 5,
        BackupError::Store { .. }
        | BackupError::Denied { .. }
        | BackupError::Full { .. }
        | BackupError::Retained { .. }
        | BackupError::Unsuitable { .. } => 6,
        _ => 1,
    }
}

fn of_physical(error: &PhysicalError) -> u8 {
    match error {
        PhysicalError::Repository(error) => of_backup(error),
        PhysicalError::NoWay { .. } | PhysicalError::Unreachable(_) | PhysicalError::NotArchived { .. } => 4,
        PhysicalError::InUse { .. }
        | PhysicalError::StillRecovers { .. }
        | PhysicalError::NotEmpty { .. }
        | PhysicalError::OtherCluster { .. }
        | PhysicalError::TablespaceInUse { .. } => 7,
        _ => 1,
    }
}
