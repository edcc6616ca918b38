//! The write-ahead log in the repository: each file once, under the name that the server gave it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::buffers::{Buffers, LogBuffers};
use crate::chunk::{CHUNK_BYTES, ChunkId};
use crate::cluster::Cluster;
use crate::container::{Container, Packer};
use crate::error::{BackupError, Result};
use crate::opened::Whole;
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
        let now = std::future::ready(Ok(()));
        self.put_wal_of(name, Plain::Bytes(bytes), compression, &Arc::default(), |_| Ok(()), now).await
    }

    /// The same for a file of this host, of which one chunk is in memory at a time. `check` sees its pieces;
    /// `turn` is awaited before it is stored, and where it fails nothing is.
    pub(crate) async fn put_wal_file<E: From<BackupError> + Send + 'static>(
        &self,
        name: WalName,
        path: &Path,
        compression: Compression,
        buffers: &Arc<LogBuffers>,
        check: impl FnMut(&[u8]) -> std::result::Result<(), E> + Send + 'static,
        turn: impl Future<Output = std::result::Result<(), E>>,
    ) -> std::result::Result<WalPut, E> {
        let plain = Plain::file(path)?;
        self.put_wal_of(name, plain, compression, buffers, check, turn).await
    }

    async fn put_wal_of<E: From<BackupError> + Send + 'static>(
        &self,
        name: WalName,
        plain: Plain,
        compression: Compression,
        buffers: &Arc<LogBuffers>,
        mut check: impl FnMut(&[u8]) -> std::result::Result<(), E> + Send + 'static,
        turn: impl Future<Output = std::result::Result<(), E>>,
    ) -> std::result::Result<WalPut, E> {
        let (cluster, path, content) = (self.clone(), self.wal_path(name), plain.clone());
        let pool = Arc::clone(buffers);
        let sealed = tokio::task::spawn_blocking(move || {
            let mut begins = true;
            let object = content.seal(&cluster, &cluster.wal_path(name), compression, &pool, |piece| {
                if std::mem::take(&mut begins) {
                    cluster.look_at(name, piece, content.bytes())?;
                }
                check(piece)
            })?;
            if begins {
                cluster.look_at(name, &[], 0)?;
            }
            Ok::<_, E>(object)
        });
        let object = sealed.await.map_err(|_| BackupError::PipelineEnded)??;
        turn.await?;
        let put = self.store().put_if_absent(&path, object.clone()).await?;
        buffers.objects.give_back(object.into());
        match put {
            Put::Created => Ok(WalPut::Stored),
            Put::Exists if self.inside.writes_only => {
                self.put_wal_beside(&path, plain, compression, buffers).await?;
                Ok(WalPut::StoredBeside)
            }
            Put::Exists if self.is_there(&path, plain, buffers).await? => Ok(WalPut::AlreadyThere),
            Put::Exists => Err(BackupError::WalConflict { name }.into()),
        }
    }

    /// A file of the write-ahead log; `None` where it is not there, which to the server means the end of the
    /// log. A segment is checked to be whole and this cluster's; a partial one is never given in place of a
    /// whole one.
    ///
    /// # Errors
    /// It is damaged or in dispute, or an operation of the store failed: recovery must not end there.
    pub async fn get_wal(&self, name: WalName) -> Result<Option<Bytes>> {
        let buffers = Arc::default();
        let read = self.read_wal(name, &buffers, Vec::new, |content: &mut Vec<u8>, bytes, piece| {
            if content.is_empty() {
                content.reserve_exact(usize::try_from(bytes).unwrap_or(0));
            }
            content.extend_from_slice(piece);
            Ok(())
        });
        Ok(read.await?.map(Bytes::from))
    }

    /// The same piece by piece: `each` gets what it fills, how many bytes there will be, and the next of
    /// them. After damage on the way all of it comes once more, to what is made anew.
    pub(crate) async fn read_wal<T: Send + 'static>(
        &self,
        name: WalName,
        buffers: &Arc<LogBuffers>,
        fresh: impl Fn() -> T,
        each: impl Fn(&mut T, u64, &[u8]) -> Result<()> + Clone + Send + 'static,
    ) -> Result<Option<T>> {
        self.may_read()?;
        let path = self.wal_path(name);
        let read = match self.read_wal_at(name, &path, buffers, fresh(), each.clone()).await {
            // A flip on the way is not in the store: what seems damaged is read once more.
            Err(error) if error.is_damage() => self.read_wal_at(name, &path, buffers, fresh(), each).await,
            read => read,
        };
        let Some((filled, ids)) = read? else { return Ok(None) };
        for object in self.store().list(&format!("{path}.beside")).await? {
            let beside = self.read_wal_at(name, &object.path, buffers, (), |_, _, _| Ok(())).await?;
            if beside.is_some_and(|(_, beside)| beside != ids) {
                return Err(BackupError::WalConflict { name });
            }
        }
        Ok(Some(filled))
    }

    /// Reads one object; what was filled, and the names of its chunks.
    async fn read_wal_at<T: Send + 'static>(
        &self,
        name: WalName,
        path: &str,
        buffers: &Arc<LogBuffers>,
        mut filled: T,
        each: impl Fn(&mut T, u64, &[u8]) -> Result<()> + Send + 'static,
    ) -> Result<Option<(T, Vec<ChunkId>)>> {
        let Some(object) = self.store().get_in(path, buffers.objects.take()).await? else { return Ok(None) };
        let (cluster, path, buffers) = (self.clone(), path.to_owned(), Arc::clone(buffers));
        let read = tokio::task::spawn_blocking(move || {
            let mut whole = Whole::new(&cluster.inside.ring, &path, object)?;
            let (bytes, mut plain, mut begins) = (whole.plain_bytes(), buffers.chunks.take(), true);
            while whole.next(&mut plain)? || begins {
                if std::mem::take(&mut begins) {
                    let fits = cluster.look_at(name, &plain, bytes);
                    fits.map_err(|error| BackupError::damaged(&path, error.to_string()))?;
                }
                each(&mut filled, bytes, &plain)?;
                plain.clear();
            }
            let ids = whole.ids().collect();
            buffers.chunks.give_back(plain);
            buffers.objects.give_back(whole.into_buffer());
            Ok(Some((filled, ids)))
        });
        read.await.map_err(|_| BackupError::PipelineEnded)?
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

    /// Looks at the beginning of a file of so many bytes.
    fn look_at(&self, name: WalName, beginning: &[u8], bytes: u64) -> Result<()> {
        let what = match name {
            WalName::Segment(segment) | WalName::Partial(segment) => {
                SegmentHeader::unfit_beginning(segment, self.system_identifier, beginning, bytes)
            }
            WalName::History(_) | WalName::BackupHistory(..) => {
                (bytes == 0).then(|| "it is empty".to_owned())
            }
        };
        what.map_or(Ok(()), |what| Err(BackupError::UnfitWal { name, what }))
    }

    async fn put_wal_beside(
        &self,
        path: &str,
        plain: Plain,
        compression: Compression,
        buffers: &Arc<LogBuffers>,
    ) -> Result<()> {
        let (cluster, path, buffers) = (self.clone(), path.to_owned(), Arc::clone(buffers));
        let sealed = tokio::task::spawn_blocking(move || {
            let path = format!("{path}.beside/{}", plain.id(&buffers.chunks)?);
            let object = plain.seal(&cluster, &path, compression, &buffers, |_| Ok::<_, BackupError>(()))?;
            Ok::<_, BackupError>((path, object))
        });
        let (path, object) = sealed.await.map_err(|_| BackupError::PipelineEnded)??;
        self.store().put_if_absent(&path, object).await.map(drop)
    }

    /// Whether the object at this path is whole and has these bytes.
    async fn is_there(&self, path: &str, plain: Plain, buffers: &Arc<LogBuffers>) -> Result<bool> {
        match self.compare(path, plain.clone(), buffers).await {
            // A flip on the way is not in the store: what seems damaged is read once more.
            Err(error) if error.is_damage() => self.compare(path, plain, buffers).await,
            compared => compared,
        }
    }

    async fn compare(&self, path: &str, plain: Plain, buffers: &Arc<LogBuffers>) -> Result<bool> {
        let Some(object) = self.store().get_in(path, buffers.objects.take()).await? else { return Ok(false) };
        let (cluster, path, buffers) = (self.clone(), path.to_owned(), Arc::clone(buffers));
        let compared = tokio::task::spawn_blocking(move || {
            let mut whole = Whole::new(&cluster.inside.ring, &path, object)?;
            let (mut same, mut there) = (whole.plain_bytes() == plain.bytes(), buffers.chunks.take());
            plain.each(&buffers.chunks, |piece| {
                there.clear();
                same &= whole.next(&mut there)? && there == piece;
                Ok::<_, BackupError>(())
            })?;
            buffers.chunks.give_back(there);
            buffers.objects.give_back(whole.into_buffer());
            Ok(same)
        });
        compared.await.map_err(|_| BackupError::PipelineEnded)?
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

/// What is to be stored: bytes, or a file that is read when it is.
#[derive(Clone)]
enum Plain {
    Bytes(Bytes),
    File { file: Arc<File>, path: Arc<Path>, bytes: u64 },
}

impl Plain {
    fn file(path: &Path) -> Result<Self> {
        let unread = |source| BackupError::io(format!("reading {}", path.display()), source);
        let file = File::open(path).map_err(unread)?;
        let bytes = file.metadata().map_err(unread)?.len();
        Ok(Plain::File { file: Arc::new(file), path: path.into(), bytes })
    }

    fn bytes(&self) -> u64 {
        match self {
            Plain::Bytes(bytes) => bytes.len() as u64,
            Plain::File { bytes, .. } => *bytes,
        }
    }

    /// Gives its chunks one after the other.
    fn each<E: From<BackupError>>(
        &self,
        buffers: &Buffers,
        mut each: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (file, path, bytes) = match self {
            Plain::Bytes(bytes) => return bytes.chunks(CHUNK_BYTES).try_for_each(each),
            Plain::File { file, path, bytes } => (file, path, *bytes),
        };
        let mut buffer = buffers.take();
        buffer.resize(usize::try_from(bytes).unwrap_or(usize::MAX).min(CHUNK_BYTES), 0);
        let mut at = 0;
        while at < bytes {
            let piece = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            file.read_exact_at(&mut buffer[..piece], at)
                .map_err(|source| BackupError::io(format!("reading {}", path.display()), source))?;
            each(&buffer[..piece])?;
            at += piece as u64;
        }
        buffers.give_back(buffer);
        Ok(())
    }

    /// The hash of all of it.
    fn id(&self, buffers: &Buffers) -> Result<ChunkId> {
        let mut hasher = blake3::Hasher::new();
        self.each(buffers, |piece| {
            hasher.update(piece);
            Ok::<_, BackupError>(())
        })?;
        Ok(ChunkId(*hasher.finalize().as_bytes()))
    }

    /// The object for this path; `check` sees each piece first.
    fn seal<E: From<BackupError>>(
        &self,
        cluster: &Cluster,
        path: &str,
        compression: Compression,
        buffers: &Arc<LogBuffers>,
        mut check: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<Bytes, E> {
        let mut packer = Packer::new(compression)?;
        let mut container = Container::create_in(&cluster.inside.ring, path, buffers.objects.take())?;
        let mut packed = buffers.chunks.take();
        self.each(&buffers.chunks, |piece| {
            check(piece)?;
            let mut frame = packer.pack_into(ChunkId::of(piece), piece, std::mem::take(&mut packed))?;
            container.push_from(&mut frame)?;
            packed = frame.packed;
            Ok::<_, E>(())
        })?;
        buffers.chunks.give_back(packed);
        Ok(container.finish()?)
    }
}
