//! The settings of backups: described, and read into [`StoreSettings`], [`KeySettings`], [`Compression`] and
//! [`RetentionPolicy`](crate::RetentionPolicy).

mod hooks;
#[cfg(feature = "import")]
mod import;
#[cfg(feature = "schedule")]
mod schedule;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use db_core::settings::{Foreign, FromSettings, Group, Reader, Setting, Text};

pub use hooks::HookSettings;
#[cfg(feature = "import")]
pub use import::{ImportSettings, of_config};
#[cfg(feature = "schedule")]
pub use schedule::ScheduleSettings;

use crate::error::{BackupError, Result};
use crate::keys::{Keys, WriterKey};
use crate::retention::RetentionPolicy;
use crate::store::Limits;

const DIR: Text = Text {
    name: "BACKUP_DIR",
    aliases: &[],
    meaning: "The directory of this host that holds the repository.",
    default: "`./backups`; it is not read where `CLOUD_STORAGE_PROVIDER` names a cloud",
};
const CLOUD: Setting<bool> = Setting {
    name: "CLOUD_STORAGE_ENABLED",
    aliases: &[],
    meaning: "Whether the repository is where `CLOUD_STORAGE_PROVIDER` says; false keeps to `BACKUP_DIR`.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const PROVIDER: Text = Text {
    name: "CLOUD_STORAGE_PROVIDER",
    aliases: &[],
    meaning: "Where the repository is: `local`, `s3` (also `aws`), `gcs` (also `gcp`) or `azure`.",
    default: "`local`",
};
const S3_BACKUP_BUCKET: Text = Text {
    name: "AWS_S3_BACKUP_BUCKET",
    aliases: &[],
    meaning: "The bucket on S3, or on a store that speaks its protocol.",
    default: "`AWS_S3_BUCKET`",
};
const S3_BUCKET: Text = Text {
    name: "AWS_S3_BUCKET",
    aliases: &[],
    meaning: "The bucket on S3 where `AWS_S3_BACKUP_BUCKET` is not set.",
    default: "none",
};
const GCP_BUCKET: Text = Text {
    name: "GCP_BUCKET",
    aliases: &[],
    meaning: "The bucket on Google Cloud Storage.",
    default: "none",
};
const AZURE_CONTAINER: Text = Text {
    name: "AZURE_STORAGE_CONTAINER",
    aliases: &[],
    meaning: "The container on Azure Blob.",
    default: "none",
};
const PREFIX: Text = Text {
    name: "BACKUP_PREFIX",
    aliases: &[],
    meaning: "The directory of the repository in its bucket.",
    default: "`db-backup`",
};
const ENDPOINT: Text = Text {
    name: "BACKUP_STORE_ENDPOINT",
    aliases: &[],
    meaning: "The URL of a store that is not the provider's own, such as MinIO's. `http://` is allowed here alone.",
    default: "the provider's",
};
const DEADLINE: Setting<Duration> = Setting {
    name: "BACKUP_STORE_DEADLINE",
    aliases: &[],
    meaning: "How long one operation of the store may take with all its retries.",
    default: [Duration::from_secs(300); 4],
    min: Duration::from_secs(1),
    max: Duration::from_secs(86_400),
    unit_required: &["BACKUP_STORE_DEADLINE"],
};
const ATTEMPT: Setting<Duration> = Setting {
    name: "BACKUP_STORE_TIMEOUT",
    aliases: &[],
    meaning: "How long one request to the store may take, its body included.",
    default: [Duration::from_secs(60); 4],
    min: Duration::from_millis(100),
    max: Duration::from_secs(3_600),
    unit_required: &["BACKUP_STORE_TIMEOUT"],
};
const OBJECT_LOCK: Setting<u32> = Setting {
    name: "BACKUP_OBJECT_LOCK_DAYS",
    aliases: &[],
    meaning: "For how many days the bucket locks each object (its default retention); expiry keeps what is locked. Set \
              the lock itself on the bucket.",
    default: [0; 4],
    min: 0,
    max: 36_500,
    unit_required: &[],
};

const STORE: Group = Group {
    title: "Where backups are kept",
    settings: &[
        &DIR,
        &CLOUD,
        &PROVIDER,
        &S3_BACKUP_BUCKET,
        &S3_BUCKET,
        &GCP_BUCKET,
        &AZURE_CONTAINER,
        &PREFIX,
        &ENDPOINT,
        &DEADLINE,
        &ATTEMPT,
        &OBJECT_LOCK,
    ],
    elsewhere: &[
        Foreign::new("S3_RETENTION_PERIOD", "`BACKUP_OBJECT_LOCK_DAYS`, and the retention of the bucket"),
        Foreign::new("S3_RETENTION_MODE", "the mode of the bucket's own retention"),
    ],
};

const ENCRYPTION_KEY: Text = Text {
    name: "BACKUP_ENCRYPTION_KEY",
    aliases: &[],
    meaning: "What opens the repository: a key as `dbctl backup init` prints it, or a passphrase of at least 12 \
              characters.",
    default: "none; `dbctl backup init` makes one",
};
const WRITER_KEY: Text = Text {
    name: "BACKUP_WRITER_KEY",
    aliases: &[],
    meaning: "What a host needs that only archives and takes backups, with credentials that may only put.",
    default: "none: the repository is opened with `BACKUP_ENCRYPTION_KEY`",
};

const KEYS: Group = Group {
    title: "What opens backups",
    settings: &[&ENCRYPTION_KEY, &WRITER_KEY],
    elsewhere: &[Foreign::new("BACKUP_PASSPHRASE", "`BACKUP_ENCRYPTION_KEY`")],
};

const COMPRESSION: Text = Text {
    name: "BACKUP_COMPRESSION",
    aliases: &[],
    meaning: "How backups and the write-ahead log are compressed: `zstd`, `zstd:LEVEL` with a level from 1 to 9, or `none`.",
    default: "`zstd:1`",
};

const TAKING: Group =
    Group { title: "How backups are compressed", settings: &[&COMPRESSION], elsewhere: &[] };

const RETENTION_DAYS: Setting<u32> = Setting {
    name: "BACKUP_RETENTION_DAYS",
    aliases: &[],
    meaning: "How many days back every backup is kept, and with it the write-ahead log to reach any moment since.",
    default: [7, 7, 14, 7],
    min: 0,
    max: 36_500,
    unit_required: &[],
};
const KEEP_LAST: Setting<u32> =
    kept("BACKUP_KEEP_LAST", "How many of the newest backups are kept, however old.", [1, 1, 2, 2]);
const KEEP_HOURLY: Setting<u32> =
    kept("BACKUP_KEEP_HOURLY", "For how many hours the newest backup of each is kept.", [0, 0, 0, 24]);
const KEEP_DAILY: Setting<u32> =
    kept("BACKUP_KEEP_DAILY", "For how many days the newest backup of each is kept.", [0, 0, 0, 30]);
const KEEP_WEEKLY: Setting<u32> =
    kept("BACKUP_KEEP_WEEKLY", "For how many weeks the newest backup of each is kept.", [0, 0, 0, 13]);
const KEEP_MONTHLY: Setting<u32> =
    kept("BACKUP_KEEP_MONTHLY", "For how many months the newest backup of each is kept.", [0, 0, 0, 12]);

const RETENTION: Group = Group {
    title: "How long backups are kept",
    settings: &[&RETENTION_DAYS, &KEEP_LAST, &KEEP_HOURLY, &KEEP_DAILY, &KEEP_WEEKLY, &KEEP_MONTHLY],
    elsewhere: &[],
};

const fn kept(name: &'static str, meaning: &'static str, default: [u32; 4]) -> Setting<u32> {
    Setting { name, aliases: &[], meaning, default, min: 0, max: 100_000, unit_required: &[] }
}

/// Where the repository is.
///
/// ```
/// use db_backup::{Provider, StoreSettings};
///
/// let settings = StoreSettings { directory: "/backups".into(), ..StoreSettings::default() };
/// assert_eq!(settings.provider, Provider::Local);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The kind of store.
    pub provider: Provider,
    /// The directory, where the store is local.
    pub directory: PathBuf,
    /// The bucket or container, where it is not.
    pub bucket: String,
    /// The directory in the bucket.
    pub prefix: String,
    /// Another endpoint than the provider's own.
    pub endpoint: Option<String>,
    /// Further options of the cloud's client by its names, such as `aws_access_key_id` or
    /// `azure_storage_account_name`. Without them it takes its own from the environment, and then from the
    /// host. Their values show nowhere.
    pub options: BTreeMap<String, String>,
    /// How long it is asked.
    pub limits: Limits,
    /// For how many days its bucket locks each object.
    pub object_lock_days: u32,
}

/// The kinds of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// A directory of this host.
    Local,
    /// AWS S3, or what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob.
    Azure,
}

/// The secrets of the settings; neither shows.
#[derive(Debug, Clone, Default)]
pub struct KeySettings {
    /// What opens the repository.
    pub keys: Option<Keys>,
    /// What a host needs that only writes.
    pub writer: Option<WriterKey>,
}

/// How chunks are compressed.
///
/// ```
/// use db_backup::Compression;
///
/// assert_eq!("zstd:3".parse::<Compression>()?, Compression::Zstd(3));
/// # Ok::<(), db_backup::InvalidCompression>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// By zstd at this level, 1 to 9. Above 3 it costs far more time than it saves room.
    Zstd(u8),
}

/// A text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no compression: write none, zstd, or zstd:LEVEL with a level from 1 to 9")]
pub struct InvalidCompression;

/// A text that names no kind of store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no kind of store: write local, s3, gcs or azure")]
pub struct UnknownProvider;

impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("provider", &self.provider)
            .field("directory", &self.directory)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("options", &self.options.keys())
            .field("limits", &self.limits)
            .field("object_lock_days", &self.object_lock_days)
            .finish()
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        StoreSettings {
            provider: Provider::Local,
            directory: PathBuf::from("./backups"),
            bucket: String::new(),
            prefix: "db-backup".to_owned(),
            endpoint: None,
            options: BTreeMap::new(),
            limits: Limits::default(),
            object_lock_days: 0,
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Zstd(1)
    }
}

impl FromStr for Compression {
    type Err = InvalidCompression;

    fn from_str(text: &str) -> Result<Self, InvalidCompression> {
        match text.split_once(':') {
            None if text == "none" => Ok(Compression::None),
            None if text == "zstd" => Ok(Compression::default()),
            Some(("zstd", level)) => {
                let level = level.parse().ok().filter(|level| (1..=9).contains(level));
                level.map(Compression::Zstd).ok_or(InvalidCompression)
            }
            _ => Err(InvalidCompression),
        }
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        match text.to_ascii_lowercase().as_str() {
            "local" | "file" => Ok(Provider::Local),
            "s3" | "aws" => Ok(Provider::S3),
            "gcs" | "gcp" => Ok(Provider::Gcs),
            "azure" => Ok(Provider::Azure),
            _ => Err(UnknownProvider),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl FromSettings for StoreSettings {
    const GROUPS: &'static [&'static Group] = &[&STORE];

    fn read(from: &mut Reader<'_>) -> Self {
        let named = from.parse(&PROVIDER).unwrap_or(Provider::Local);
        let provider = if from.read(&CLOUD) { named } else { Provider::Local };
        let s3 = from.text(&S3_BACKUP_BUCKET);
        let buckets = [
            (Provider::S3, s3.or_else(|| from.text(&S3_BUCKET)), S3_BACKUP_BUCKET.name),
            (Provider::Gcs, from.text(&GCP_BUCKET), GCP_BUCKET.name),
            (Provider::Azure, from.text(&AZURE_CONTAINER), AZURE_CONTAINER.name),
        ];
        let bucket = buckets.into_iter().find(|(of, _, _)| *of == provider);
        if let Some((_, None, name)) = &bucket {
            from.problem(*name, "is not set, and CLOUD_STORAGE_PROVIDER needs it");
        }
        let defaults = StoreSettings::default();
        let text = |found: Option<(&'static str, String)>| found.map(|(_, text)| text);
        StoreSettings {
            provider,
            directory: text(from.text(&DIR)).map_or(defaults.directory, PathBuf::from),
            bucket: bucket.and_then(|(_, bucket, _)| text(bucket)).unwrap_or_default(),
            prefix: text(from.text(&PREFIX)).unwrap_or(defaults.prefix),
            endpoint: text(from.text(&ENDPOINT)),
            options: BTreeMap::new(),
            limits: Limits {
                attempt: from.read(&ATTEMPT),
                deadline: from.read(&DEADLINE),
                ..Limits::default()
            },
            object_lock_days: from.read(&OBJECT_LOCK),
        }
    }
}

impl FromSettings for KeySettings {
    const GROUPS: &'static [&'static Group] = &[&KEYS];

    fn read(from: &mut Reader<'_>) -> Self {
        let secret = |setting: &Text, from: &mut Reader<'_>| from.text(setting).map(|(_, text)| text);
        let keys = secret(&ENCRYPTION_KEY, from).map(|text| Keys::from_text(&text));
        let writer = secret(&WRITER_KEY, from).map(|text| text.parse::<WriterKey>());
        KeySettings {
            keys: told(from, ENCRYPTION_KEY.name, keys),
            writer: told(from, WRITER_KEY.name, writer),
        }
    }
}

fn told<T>(from: &mut Reader<'_>, name: &str, parsed: Option<Result<T, BackupError>>) -> Option<T> {
    parsed?.map_err(|error| from.problem(name, error.to_string())).ok()
}

impl FromSettings for Compression {
    const GROUPS: &'static [&'static Group] = &[&TAKING];

    fn read(from: &mut Reader<'_>) -> Self {
        from.parse(&COMPRESSION).unwrap_or_default()
    }
}

impl FromSettings for RetentionPolicy {
    const GROUPS: &'static [&'static Group] = &[&RETENTION];

    fn read(from: &mut Reader<'_>) -> Self {
        RetentionPolicy {
            days: from.read(&RETENTION_DAYS),
            last: from.read(&KEEP_LAST),
            hourly: from.read(&KEEP_HOURLY),
            daily: from.read(&KEEP_DAILY),
            weekly: from.read(&KEEP_WEEKLY),
            monthly: from.read(&KEEP_MONTHLY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromSettings>(pairs: &[(&str, &str)]) -> Result<T, String> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = T::read(&mut reader);
        reader.finish().map(|_| read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_bucket_is_the_providers() {
        let buckets =
            [("AWS_S3_BUCKET", "assets"), ("GCP_BUCKET", "gcp"), ("AZURE_STORAGE_CONTAINER", "azure")];
        let check = |more: &[(&str, &str)], provider: Provider, bucket: &str| {
            let read: StoreSettings = read(&[&buckets, more].concat()).unwrap();
            assert_eq!((read.provider, read.bucket.as_str()), (provider, bucket));
        };
        check(&[], Provider::Local, "");
        check(&[("CLOUD_STORAGE_PROVIDER", "aws")], Provider::S3, "assets");
        check(&[("CLOUD_STORAGE_PROVIDER", "s3"), ("AWS_S3_BACKUP_BUCKET", "mine")], Provider::S3, "mine");
        check(&[("CLOUD_STORAGE_PROVIDER", "gcp")], Provider::Gcs, "gcp");
        check(&[("CLOUD_STORAGE_PROVIDER", "azure")], Provider::Azure, "azure");
        check(
            &[("CLOUD_STORAGE_PROVIDER", "azure"), ("CLOUD_STORAGE_ENABLED", "false")],
            Provider::Local,
            "",
        );
    }

    #[test]
    fn a_cloud_without_a_bucket_and_a_wrong_key_are_told() {
        let error = read::<StoreSettings>(&[("CLOUD_STORAGE_PROVIDER", "gcs")]).unwrap_err();
        assert!(error.contains("GCP_BUCKET"), "{error}");
        let error = read::<KeySettings>(&[("BACKUP_ENCRYPTION_KEY", "hunter2")]).unwrap_err();
        assert!(error.contains("BACKUP_ENCRYPTION_KEY") && !error.contains("hunter2"), "{error}");
        let error = read::<Compression>(&[("BACKUP_COMPRESSION", "gzip")]).unwrap_err();
        assert!(error.contains("zstd"), "{error}");
        assert_eq!(read::<Compression>(&[("BACKUP_COMPRESSION", "zstd:3")]), Ok(Compression::Zstd(3)));
    }

    #[test]
    fn production_keeps_hours_days_weeks_and_months() {
        let policy: RetentionPolicy = read(&[("APP_ENV", "production")]).unwrap();
        let expected = RetentionPolicy { days: 7, last: 2, hourly: 24, daily: 30, weekly: 13, monthly: 12 };
        assert_eq!(policy, expected);
        let policy: RetentionPolicy = read(&[("APP_ENV", "staging")]).unwrap();
        assert_eq!((policy.days, policy.daily), (14, 0));
    }
}
