//! The write-ahead log in the repository: each file once, under the name that the server gave it.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::chunk::ChunkId;
use crate::cluster::Cluster;
use crate::container::{Packer, open_whole, seal_whole};
use crate::error::{BackupError, Result};
use crate::settings::Compression;
use crate::store::{Object, Put};
use crate::wal_name::WalName;
use crate::wal_page::SegmentHeader;

/// How many directories are listed at once.
const LISTS_AT_ONCE: usize = 8;

/// What became of a file of the write-ahead log. Each means that the server may forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalPut {
    /// It is in the repository now.
    Stored,
    /// It was there already, with the same bytes.
    AlreadyThere,
    /// Something was there under this name, and these credentials may not read it: this one was stored beside
    /// it, so that nothing is lost whatever it is. Verification compares the two.
    StoredBeside,
}

/// A file of the write-ahead log that is in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWal {
    /// Its name.
    pub name: WalName,
    /// The object.
    pub object: Object,
    /// Whether it lies beside another one of this name, because that could not be read when it came.
    pub beside: bool,
}

impl Cluster {
    /// Stores a file of the write-ahead log. It is durable when this returns.
    ///
    /// # Errors
    /// [`BackupError::UnfitWal`] where it is no whole segment of this cluster; [`BackupError::WalConflict`]
    /// where another one has this name; those of the store.
    pub async fn put_wal(&self, name: WalName, bytes: Bytes, compression: Compression) -> Result<WalPut> {
        self.look_at(name, &bytes)?;
        let path = self.wal_path(name);
        let put = self.put_wal_at(&path, bytes.clone(), compression).await?;
        match put {
            Put::Created => Ok(WalPut::Stored),
            Put::Exists if self.inside.writes_only => {
                let beside = format!("{path}.beside/{}", ChunkId::of(&bytes));
                self.put_wal_at(&beside, bytes, compression).await?;
                Ok(WalPut::StoredBeside)
            }
            Put::Exists => match self.open_wal_twice(&path).await? {
                Some(there) if there == bytes => Ok(WalPut::AlreadyThere),
                _ => Err(BackupError::WalConflict { name }),
            },
        }
    }

    /// A file of the write-ahead log; `None` where it is not there, which to the server means the end of the
    /// log. A segment is checked to be whole and this cluster's; a partial one is never given in place of a
    /// whole one.
    ///
    /// # Errors
    /// It is damaged or in dispute, or an operation of the store failed: recovery must not end there.
    pub async fn get_wal(&self, name: WalName) -> Result<Option<Bytes>> {
        self.may_read()?;
        let path = self.wal_path(name);
        let Some(bytes) = self.open_wal_twice(&path).await? else { return Ok(None) };
        for object in self.store().list(&format!("{path}.beside")).await? {
            let beside = self.open_wal(&object.path).await?;
            if beside.is_some_and(|beside| beside != bytes) {
                return Err(BackupError::WalConflict { name });
            }
        }
        self.look_at(name, &bytes).map_err(|error| BackupError::damaged(path, error.to_string()))?;
        Ok(Some(bytes))
    }

    /// Whether a file of the write-ahead log is there; it is not opened.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn has_wal(&self, name: WalName) -> Result<bool> {
        self.may_read()?;
        Ok(self.store().head(&self.wal_path(name)).await?.is_some())
    }

    /// The timelines that have anything in the repository, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn timelines(&self) -> Result<Vec<u32>> {
        self.may_read()?;
        let names = self.store().directories(&self.path("wal")).await?;
        Ok(names.iter().filter_map(|name| u32::from_str_radix(name, 16).ok()).collect())
    }

    /// What is stored of a timeline, by name in order: segments, partial ones, histories and backup
    /// histories.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn wal(&self, timeline: u32) -> Result<Vec<StoredWal>> {
        self.may_read()?;
        let directory = self.path(&format!("wal/{timeline:08X}"));
        let logs = self.store().directories(&directory).await?;
        let directory = &directory;
        let lists = stream::iter(
            logs.into_iter().map(|log| async move { self.store().list(&format!("{directory}/{log}")).await }),
        );
        let lists: Vec<Vec<Object>> = lists.buffered(LISTS_AT_ONCE).try_collect().await?;
        let mut stored: Vec<StoredWal> = lists.into_iter().flatten().filter_map(stored_wal).collect();
        stored.sort_by_key(|stored| (stored.name, stored.beside));
        Ok(stored)
    }

    /// The history files of all timelines, by timeline in order.
    ///
    /// # Errors
    /// One is damaged, or an operation of the store failed.
    pub async fn histories(&self) -> Result<Vec<(u32, Bytes)>> {
        let mut histories = Vec::new();
        for timeline in self.timelines().await? {
            if let Some(text) = self.get_wal(WalName::History(timeline)).await? {
                histories.push((timeline, text));
            }
        }
        Ok(histories)
    }

    pub(crate) async fn open_wal(&self, path: &str) -> Result<Option<Bytes>> {
        let Some(object) = self.store().get(path).await? else { return Ok(None) };
        let (inside, path) = (std::sync::Arc::clone(&self.inside), path.to_owned());
        let opened = tokio::task::spawn_blocking(move || open_whole(&inside.ring, &path, &object)).await;
        opened.map_err(|_| BackupError::PipelineEnded)?.map(|bytes| Some(Bytes::from(bytes)))
    }

    /// A flip on the way is not in the store: what seems damaged is read once more.
    async fn open_wal_twice(&self, path: &str) -> Result<Option<Bytes>> {
        match self.open_wal(path).await {
            Err(error) if error.is_damage() => self.open_wal(path).await,
            opened => opened,
        }
    }

    /// Segments of one timeline lie in directories of 4 GiB of the log, so that none grows without end.
    pub(crate) fn wal_path(&self, name: WalName) -> String {
        let directory = match name {
            WalName::Segment(segment) | WalName::Partial(segment) | WalName::BackupHistory(segment, _) => {
                format!("{:08X}", segment.log)
            }
            WalName::History(_) => "history".to_owned(),
        };
        self.path(&format!("wal/{:08X}/{directory}/{name}", name.timeline()))
    }

    fn look_at(&self, name: WalName, bytes: &[u8]) -> Result<()> {
        let what = match name {
            WalName::Segment(segment) | WalName::Partial(segment) => {
                SegmentHeader::unfit(segment, self.system_identifier, bytes)
            }
            WalName::History(_) | WalName::BackupHistory(..) => {
                bytes.is_empty().then(|| "it is empty".to_owned())
            }
        };
        what.map_or(Ok(()), |what| Err(BackupError::UnfitWal { name, what }))
    }

    async fn put_wal_at(&self, path: &str, bytes: Bytes, compression: Compression) -> Result<Put> {
        let (inside, at) = (std::sync::Arc::clone(&self.inside), path.to_owned());
        let sealed = tokio::task::spawn_blocking(move || {
            seal_whole(&inside.ring, &at, &bytes, &mut Packer::new(compression)?)
        });
        let sealed = sealed.await.map_err(|_| BackupError::PipelineEnded)??;
        self.store().put_if_absent(path, sealed).await
    }
}

/// What an object below `wal/` is; `None` for what nobody archived.
fn stored_wal(object: Object) -> Option<StoredWal> {
    let mut parts = object.path.rsplit('/');
    let last = parts.next()?;
    let (name, beside) = match parts.next()?.strip_suffix(".beside") {
        Some(name) => (name, true),
        None => (last, false),
    };
    let name = name.parse().ok()?;
    Some(StoredWal { name, object, beside })
}
