//! The manifest of a backup: a backup exists when its manifest does. docs/backup-format.md is its schema.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use db_core::Lsn;
use serde::{Deserialize, Serialize};

use crate::backup_id::BackupId;
use crate::chunk::{ChunkTable, Extent, PackRef};

/// The version of the schema that this program writes. It reads this one and the older ones.
pub const MANIFEST_FORMAT: u32 = 1;

/// All that is known of one backup. It is written once, last, and never changed.
///
/// ```
/// use db_backup::{BackupId, ChunkTable, Kind, Manifest, Summary};
///
/// let summary = Summary::new(Kind::Logical, Default::default(), chrono::Utc::now());
/// let manifest = Manifest::new(summary, Vec::new(), ChunkTable::default());
/// assert_eq!(manifest.summary.figures.plain_bytes, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What a list of backups shows. It is stored in front, so that it can be read without the rest.
    pub summary: Summary,
    /// The files, directories and links, in the order of the stream.
    pub files: Vec<File>,
    /// Where their bytes are.
    pub content: ChunkTable,
}

/// What is known of a backup besides its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of the schema, [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The backup's name.
    pub id: BackupId,
    /// How it was taken.
    pub kind: Kind,
    /// What an incremental backup is relative to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BackupId>,
    /// The server that was backed up.
    pub server: ServerFacts,
    /// When it began, by the clock of the host that took it.
    pub began: DateTime<Utc>,
    /// When its last byte was read.
    pub ended: DateTime<Utc>,
    /// The write-ahead log without which a physical backup is not consistent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalRange>,
    /// The tablespaces besides `pg_default` and `pg_global`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<Tablespace>,
    /// The databases that a logical backup holds, or that the cluster had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    /// Pages whose checksum did not match when they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_pages: Vec<BadPage>,
    /// Whether it is kept until somebody deletes it by name: no policy removes it.
    #[serde(default)]
    pub pinned: bool,
    /// What the operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What a restore or a rehearsal needs to know besides, by name: row counts of a dump, its snapshot, its
    /// options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, serde_json::Value>,
    /// The program and version that wrote it.
    pub program: String,
    /// Sizes and counts, which [`Manifest::new`] computes.
    #[serde(default)]
    pub figures: Figures,
}

/// Sizes and counts of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub plain_bytes: u64,
    /// How many bytes its own packs take in the store; what it shares with earlier backups is not counted.
    pub stored_bytes: u64,
    /// The backups whose packs it uses.
    pub reuses: Vec<BackupId>,
}

/// How a backup was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All files of a cluster.
    Full,
    /// The blocks that changed since the parent.
    Incremental,
    /// A dump by `pg_dump`.
    Logical,
}

/// What a restore must know of the server that was backed up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The cluster's system identifier. In JSON a text, because JavaScript rounds such numbers.
    #[serde(with = "as_text")]
    pub system_identifier: u64,
    /// `server_version_num`, such as 170011.
    pub version: u32,
    /// The size of a segment of the write-ahead log, in bytes.
    pub wal_segment_bytes: u32,
    /// The size of a page, in bytes.
    pub block_bytes: u32,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
    /// The C library and its version, as in `glibc 2.36`: another one may order text differently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libc: Option<String>,
    /// The version of ICU that the server was built with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu: Option<String>,
    /// Settings without which the restored server refuses to replay (`max_connections`, …) or to start.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The server's own name for itself, for people: `cluster_name` or the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the files were read from a standby.
    #[serde(default)]
    pub standby: bool,
}

/// The write-ahead log that a physical backup needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRange {
    /// The timeline on which it was taken.
    pub timeline: u32,
    /// Where replay begins, as in `16/B374D848`.
    #[serde(with = "as_text")]
    pub start: Lsn,
    /// Where the backup is consistent: no recovery may end before.
    #[serde(with = "as_text")]
    pub stop: Lsn,
}

/// A tablespace, and where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its OID, which is the name of the link in `pg_tblspc`.
    pub oid: u32,
    /// Its name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The directory to which the link led.
    pub location: String,
}

/// One file, directory or link of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its path below `root`, with `/`.
    pub path: String,
    /// What the path is relative to.
    #[serde(default, skip_serializing_if = "Root::is_data")]
    pub root: Root,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
    /// Its permissions, as in 0o600.
    pub mode: u32,
    /// When it was last changed.
    pub modified: DateTime<Utc>,
}

/// What a file's path is relative to.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// The data directory.
    #[default]
    Data,
    /// The tablespace with this OID.
    Tablespace(u32),
    /// The directory of configuration that lies outside the data directory, as Debian has it.
    Config,
    /// The directory that `pg_dump` wrote for the database with this name; `None` is for the globals.
    Dump(Option<String>),
    /// Beside the data: what the program itself needs, such as `backup_manifest`.
    Beside,
}

/// What an entry of a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum What {
    /// A file with content.
    File {
        /// Where its bytes are in the stream.
        extent: Extent,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Link {
        /// What it leads to.
        to: String,
    },
}

/// A page whose checksum did not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadPage {
    /// The file, below its root.
    pub path: String,
    /// The number of the block in that file.
    pub block: u64,
}

impl Manifest {
    /// A manifest whose figures are those of these files.
    pub fn new(mut summary: Summary, files: Vec<File>, content: ChunkTable) -> Self {
        let own = |pack: &PackRef| owner(&pack.path).as_ref() == Some(&summary.id);
        let mut reuses: Vec<BackupId> = content.packs.iter().filter_map(|pack| owner(&pack.path)).collect();
        reuses.retain(|id| *id != summary.id);
        reuses.sort();
        reuses.dedup();
        let extents = files.iter().filter_map(File::extent);
        summary.figures = Figures {
            files: extents.clone().count() as u64,
            plain_bytes: extents.map(|extent| extent.bytes).fold(0, u64::saturating_add),
            stored_bytes: content.packs.iter().filter(|pack| own(pack)).map(|pack| pack.bytes).sum(),
            reuses,
        };
        Manifest { summary, files, content }
    }
}

impl Summary {
    /// What is known of a backup that begins at this moment, under a new name.
    pub fn new(kind: Kind, server: ServerFacts, began: DateTime<Utc>) -> Self {
        Summary {
            format: MANIFEST_FORMAT,
            id: BackupId::new(began, kind),
            kind,
            parent: None,
            server,
            began,
            ended: began,
            wal: None,
            tablespaces: Vec::new(),
            databases: Vec::new(),
            bad_pages: Vec::new(),
            pinned: false,
            label: None,
            notes: BTreeMap::new(),
            program: concat!("db-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
            figures: Figures::default(),
        }
    }

    /// The backups that must stay as long as this one: its parent, and those whose packs it uses.
    pub fn needs(&self) -> impl Iterator<Item = &BackupId> {
        self.parent.iter().chain(&self.figures.reuses)
    }
}

impl File {
    /// Where its bytes are; `None` for what has none.
    pub fn extent(&self) -> Option<Extent> {
        match &self.what {
            What::File { extent } => Some(*extent),
            What::Directory | What::Link { .. } => None,
        }
    }
}

impl Root {
    fn is_data(&self) -> bool {
        *self == Root::Data
    }
}

impl Kind {
    /// Its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Full => "full",
            Kind::Incremental => "incremental",
            Kind::Logical => "logical",
        }
    }

    /// Whether it is made of the cluster's files, so that the write-ahead log can be replayed onto it.
    pub fn is_physical(self) -> bool {
        self != Kind::Logical
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no kind of backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no kind of backup: full, incremental and logical are")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Kind::Full, Kind::Incremental, Kind::Logical]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownKind)
    }
}

/// The backup to whose directory a path belongs.
fn owner(path: &str) -> Option<BackupId> {
    path.split('/').find_map(|part| part.parse().ok())
}

/// Numbers and positions as texts in JSON.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
