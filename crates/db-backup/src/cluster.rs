//! The backups and the write-ahead log of one cluster, by its system identifier.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::backup_id::BackupId;
use crate::chunk::hex;
use crate::container::{Packer, seal_whole};
use crate::draft::Draft;
use crate::error::{BackupError, Result};
use crate::inside::Inside;
use crate::manifest::{Kind, Manifest, ServerFacts, Summary};
use crate::manifest_object;
use crate::opened::open_whole;
use crate::reader::ChunkReader;
use crate::seal::random;
use crate::settings::Compression;
use crate::store::{Put, Store};

/// How many small objects are read at once.
const READS_AT_ONCE: usize = 8;

/// What a repository holds of one cluster.
///
/// Nothing here is named by people: a cluster is its system identifier, so another one can neither overwrite
/// it nor be taken for it.
///
/// ```
/// use db_backup::{Keys, Kind, Protection, Repository, ServerFacts, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let store = Store::local(directory.path())?;
/// # let (repository, _) = Repository::init(store, &Keys::generate(), Protection::Encrypted).await?;
/// let cluster = repository.cluster(7_312_345_678_901_234_567);
/// let draft = cluster.begin(Kind::Logical, ServerFacts::default(), None).await?;
/// let mut writer = draft.writer(Default::default())?;
/// writer.begin_file(4).await?;
/// writer.write(b"dump").await?;
/// let extent = writer.end_file();
/// assert_eq!(extent.bytes, 4);
/// let written = writer.finish().await?;
/// let summary = draft.publish(Vec::new(), written.content).await?;
/// assert_eq!(cluster.backups().await?.whole, [summary]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(crate) inside: Arc<Inside>,
    pub(crate) system_identifier: u64,
}

/// The backups of a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backups {
    /// Those whose manifest can be read, the oldest first.
    pub whole: Vec<Summary>,
    /// Those whose manifest was changed, moved or cut off. Nothing that might be theirs is ever removed.
    pub damaged: Vec<DamagedBackup>,
    /// Those that are marked to be removed, the oldest first.
    pub expiring: Vec<Summary>,
}

/// A backup whose manifest is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedBackup {
    /// Its directory's name.
    pub id: String,
    /// How that is known.
    pub why: String,
}

/// Puts backups in the order in which they began. Their names tell seconds, behind which they are random.
pub(crate) fn oldest_first(backups: &mut [Summary]) {
    backups.sort_by(|one, other| (one.began, &one.id).cmp(&(other.began, &other.id)));
}

impl Cluster {
    pub(crate) fn new(inside: Arc<Inside>, system_identifier: u64) -> Self {
        Cluster { inside, system_identifier }
    }

    /// Its system identifier.
    pub fn system_identifier(&self) -> u64 {
        self.system_identifier
    }

    /// Begins a backup. Chunks that `base` has are not stored again, and `base` is kept until this one is
    /// published or given up.
    ///
    /// # Errors
    /// `base` is being removed, the server is of another cluster, or an operation of the store failed.
    pub async fn begin(&self, kind: Kind, server: ServerFacts, base: Option<&Manifest>) -> Result<Draft> {
        Draft::begin(self.clone(), Summary::new(kind, server, Utc::now()), base).await
    }

    /// All its backups, the oldest first. Only the first part of each manifest is read.
    ///
    /// # Errors
    /// Those of the store; a manifest that is damaged is no error.
    pub async fn backups(&self) -> Result<Backups> {
        self.may_read()?;
        let names = self.store().directories(&self.path("backups")).await?;
        let read = stream::iter(names.into_iter().map(|name| async move {
            let path = self.path(&format!("backups/{name}/manifest"));
            let summary = match name.parse::<BackupId>() {
                Ok(id) => {
                    manifest_object::read_summary(&self.inside, &path, &id, self.system_identifier).await
                }
                Err(error) => Err(BackupError::damaged(&path, error.to_string())),
            };
            (name, summary)
        }));
        let tombstones = self.tombstones().await?;
        let is_marked = |id: &BackupId| tombstones.iter().any(|(marked, _)| marked == id);
        let mut backups = Backups::default();
        let mut read = std::pin::pin!(read.buffered(READS_AT_ONCE));
        while let Some((id, summary)) = read.next().await {
            match summary {
                Ok(Some(summary)) if is_marked(&summary.id) => backups.expiring.push(summary),
                Ok(Some(summary)) => backups.whole.push(summary),
                // Without a manifest there is no backup: one is being taken, or was given up.
                Ok(None) => {}
                Err(error) if error.is_damage() || matches!(error, BackupError::TooNew { .. }) => {
                    backups.damaged.push(DamagedBackup { id, why: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        self.add_vanished(&mut backups, &tombstones).await?;
        [&mut backups.whole, &mut backups.expiring].into_iter().for_each(|some| oldest_first(some));
        Ok(backups)
    }

    /// Adds those that were published and have no manifest any more: somebody removed it, and no expiry did.
    async fn add_vanished(&self, backups: &mut Backups, marked: &[(BackupId, DateTime<Utc>)]) -> Result<()> {
        for receipt in self.store().list(&self.path("receipts")).await? {
            let Some(id) = receipt.path.rsplit('/').next().and_then(|id| id.parse::<BackupId>().ok()) else {
                continue;
            };
            let is_known = backups.whole.iter().chain(&backups.expiring).any(|backup| backup.id == id)
                || backups.damaged.iter().any(|backup| backup.id == id.as_str())
                || marked.iter().any(|(marked, _)| *marked == id);
            // A receipt that was made without a key says nothing.
            if !is_known && self.get_sealed(&receipt.path).await.is_ok_and(|receipt| receipt.is_some()) {
                let why = BackupError::missing(self.manifest_path(&id)).to_string();
                backups.damaged.push(DamagedBackup { id: id.to_string(), why });
            }
        }
        Ok(())
    }

    /// The whole manifest of a backup.
    ///
    /// # Errors
    /// There is no such backup, its manifest is damaged, or an operation of the store failed.
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest> {
        self.may_read()?;
        let path = self.manifest_path(id);
        let found = manifest_object::read(&self.inside, &path, id, self.system_identifier).await?;
        found.ok_or_else(|| BackupError::NoBackup(id.clone()))
    }

    /// Reads the files of a backup. `workers` chunks are fetched and opened at once; 2 suffice for two
    /// processors.
    pub fn reader(&self, manifest: &Manifest, workers: usize) -> ChunkReader {
        ChunkReader::new(Arc::clone(&self.inside), &manifest.content, workers)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inside.store
    }

    /// A path from the root of the repository.
    pub(crate) fn path(&self, below: &str) -> String {
        format!("clusters/{}/{below}", self.system_identifier)
    }

    pub(crate) fn manifest_path(&self, id: &BackupId) -> String {
        self.path(&format!("backups/{id}/manifest"))
    }

    pub(crate) fn packs_path(&self, id: &BackupId) -> String {
        self.path(&format!("backups/{id}/packs"))
    }

    /// What the store's clock says, which is not this host's: an object is written and looked at.
    pub(crate) async fn store_time(&self) -> Result<DateTime<Utc>> {
        let path = self.path(&format!("clock/{}", hex(&random::<8>()?)));
        self.store().put_if_absent(&path, Bytes::from_static(b"now")).await?;
        // From a list, as the times that it is compared with: other answers of a store are cut to whole
        // seconds.
        let listed = self.store().list(&self.path("clock")).await?;
        let there = listed.into_iter().find(|object| object.path == path);
        let there = there.ok_or_else(|| BackupError::missing(&path))?;
        self.store().discard(&path).await?;
        Ok(there.written)
    }

    /// What says that a backup was published, so that its manifest cannot vanish unnoticed.
    pub(crate) fn receipt_path(&self, id: &BackupId) -> String {
        self.path(&format!("receipts/{id}"))
    }

    pub(crate) fn may_read(&self) -> Result<()> {
        if self.inside.writes_only {
            return Err(BackupError::Misuse(
                "a repository that was opened with BACKUP_WRITER_KEY is only written; set BACKUP_ENCRYPTION_KEY",
            ));
        }
        Ok(())
    }

    /// Writes a small object, sealed.
    pub(crate) async fn put_sealed(&self, path: &str, plain: &[u8]) -> Result<Put> {
        let sealed = seal_whole(&self.inside.ring, path, plain, &mut Packer::new(Compression::default())?)?;
        self.store().put_if_absent(path, sealed).await
    }

    /// A small sealed object; `None` where there is none.
    pub(crate) async fn get_sealed(&self, path: &str) -> Result<Option<Bytes>> {
        let Some(object) = self.store().get(path).await? else { return Ok(None) };
        open_whole(&self.inside.ring, path, object).map(|plain| Some(Bytes::from(plain)))
    }

    /// Many small sealed objects, in this order.
    pub(crate) async fn get_all_sealed(
        &self,
        paths: Vec<String>,
    ) -> Result<Vec<(String, Result<Option<Bytes>>)>> {
        let read = stream::iter(paths.into_iter().map(|path| async move {
            match self.get_sealed(&path).await {
                Err(error) if !error.is_damage() => Err(error),
                opened => Ok((path, opened)),
            }
        }));
        read.buffered(READS_AT_ONCE).try_collect().await
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({})", self.system_identifier)
    }
}
