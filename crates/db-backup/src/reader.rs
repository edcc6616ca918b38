//! Reads the files of a backup: fetches, opens, unpacks and checks chunks ahead of the caller, within bounded
//! memory.
//!
//! A chunk is fetched by itself, into a buffer that is used again. Of a pack only the header and the index
//! are read besides, once: what somebody changed there is damage too, although no chunk needs it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::buffers::Buffers;
use crate::chunk::{ChunkRef, ChunkTable, Extent, PackRef};
use crate::error::{BackupError, Result};
use crate::inside::Inside;
use crate::opened::{Index, Unpacker};
use crate::seal::{FOOTER_BYTES, HEADER_BYTES};

/// How many opened chunks are kept.
const RECENT_CHUNKS: usize = 1;
/// Of how many packs the indexes are kept.
const RECENT_PACKS: usize = 4;

/// Reads the files of one backup. [`Cluster::reader`](crate::Cluster::reader) makes one; clones share what
/// they know.
///
/// ```
/// use db_backup::{ChunkReader, File, Result};
///
/// async fn length(reader: &ChunkReader, file: &File) -> Result<usize> {
///     let mut bytes = 0;
///     let Some(extent) = file.extent() else { return Ok(0) };
///     let mut pieces = reader.read(extent);
///     while let Some(piece) = pieces.next().await? {
///         bytes += piece.len();
///     }
///     Ok(bytes)
/// }
/// ```
#[derive(Clone)]
pub struct ChunkReader {
    shared: Arc<Shared>,
}

struct Shared {
    inside: Arc<Inside>,
    content: ChunkTable,
    workers: usize,
    /// The indexes that were opened last, or are being opened.
    packs: Mutex<VecDeque<(u32, Arc<Opening>)>>,
    unpackers: Mutex<Vec<Unpacker>>,
    /// For chunks as they are stored, which are mostly smaller.
    sealed: Buffers,
    /// For chunks.
    buffers: Arc<Buffers>,
    /// The chunks that were opened last: small files share one.
    recent: Mutex<VecDeque<(u64, Bytes)>>,
}

/// An index that is opened once, by whoever comes first, for all that want it.
type Opening = OnceCell<Arc<Index>>;

/// The bytes of one extent, piece by piece in order.
pub struct Pieces {
    shared: Arc<Shared>,
    /// The chunks that were not asked for yet.
    rest: Range<u64>,
    ahead: VecDeque<JoinHandle<Result<Bytes>>>,
    /// How many bytes at the beginning of the next piece are not the extent's.
    skip: usize,
    /// How many bytes of the extent are still to come.
    left: u64,
}

impl ChunkReader {
    pub(crate) fn new(inside: Arc<Inside>, content: &ChunkTable, workers: usize) -> Self {
        let shared = Shared {
            inside,
            content: content.clone(),
            workers: workers.max(1),
            packs: Mutex::default(),
            unpackers: Mutex::default(),
            sealed: Buffers::default(),
            buffers: Arc::default(),
            recent: Mutex::default(),
        };
        ChunkReader { shared: Arc::new(shared) }
    }

    /// The bytes of a file. Must be called on a tokio runtime; chunks are fetched ahead once the first piece
    /// is asked for.
    pub fn read(&self, extent: Extent) -> Pieces {
        let chunks = self.shared.content.chunks.len() as u64;
        let rest = if extent.bytes == 0 { 0..0 } else { extent.chunk..chunks };
        Pieces {
            shared: Arc::clone(&self.shared),
            rest,
            ahead: VecDeque::new(),
            skip: usize::try_from(extent.offset).unwrap_or(usize::MAX),
            left: extent.bytes,
        }
    }

    /// The bytes of a file, all in memory.
    ///
    /// # Errors
    /// Those of [`Pieces::next`].
    pub async fn read_to_vec(&self, extent: Extent) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(extent.bytes.min(64 << 20)).unwrap_or(0));
        let mut pieces = self.read(extent);
        while let Some(piece) = pieces.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// One chunk, by its number in the stream.
    ///
    /// # Errors
    /// Its pack is missing or damaged, or an operation of the store failed.
    pub async fn chunk(&self, number: u64) -> Result<Bytes> {
        self.shared.chunk(number).await
    }

    pub(crate) fn chunk_ref(&self, number: u64) -> Result<ChunkRef> {
        self.shared.chunk_ref(number)
    }

    /// Its buffers, for who needs some of that size beside it.
    pub(crate) fn buffers(&self) -> &Arc<Buffers> {
        &self.shared.buffers
    }

    /// How many chunks the stream has.
    pub fn chunks(&self) -> u64 {
        self.shared.content.chunks.len() as u64
    }
}

impl Pieces {
    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// A pack is missing or damaged, the extent goes beyond the stream, or an operation of the store failed.
    ///
    /// # Cancel safety
    /// Safe: a piece that was not returned comes again.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            self.fetch_ahead();
            let Some(next) = self.ahead.front_mut() else {
                return Err(BackupError::damaged("the manifest", "a file lies behind its last chunk"));
            };
            let fetched = next.await;
            self.ahead.pop_front();
            let mut piece = fetched.map_err(|_| BackupError::PipelineEnded)??;
            let skipped = piece.split_to(self.skip.min(piece.len()));
            self.skip -= skipped.len();
            piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= piece.len() as u64;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn fetch_ahead(&mut self) {
        let skip = self.skip as u64;
        let mut wanted = (self.left + skip).div_ceil(crate::chunk::CHUNK_BYTES as u64).max(1);
        wanted = wanted.saturating_sub(self.ahead.len() as u64);
        while wanted > 0 && self.ahead.len() < self.shared.workers + 1 {
            let Some(number) = self.rest.next() else { return };
            let shared = Arc::clone(&self.shared);
            self.ahead.push_back(tokio::spawn(async move { shared.chunk(number).await }));
            wanted -= 1;
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.ahead.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    async fn chunk(self: &Arc<Self>, number: u64) -> Result<Bytes> {
        let find = |recent: &VecDeque<(u64, Bytes)>| {
            recent.iter().find(|(known, _)| *known == number).map(|(_, bytes)| bytes.clone())
        };
        if let Some(bytes) = find(&self.recent.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(bytes);
        }
        let bytes = self.opened(number).await?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.truncate(RECENT_CHUNKS - 1);
        recent.push_front((number, bytes.clone()));
        Ok(bytes)
    }

    async fn opened(self: &Arc<Self>, number: u64) -> Result<Bytes> {
        let chunk = self.chunk_ref(number)?;
        match self.fetch(chunk).await {
            // A flip on the way is not in the store: it is read once more before it is called damage.
            Err(BackupError::Damaged { .. }) => {
                self.forget(chunk.pack);
                self.fetch(chunk).await
            }
            fetched => fetched,
        }
    }

    async fn fetch(self: &Arc<Self>, chunk: ChunkRef) -> Result<Bytes> {
        let index = self.index(chunk.pack).await?;
        let pack = self.pack_ref(chunk.pack)?;
        if !index.holds(&chunk) {
            return Err(BackupError::damaged(&pack.path, "it holds other chunks than the manifest names"));
        }
        let frame = usize::try_from(chunk.frame).unwrap_or(usize::MAX);
        let sealed = read_part(&self.inside, pack, index.place(frame)?, self.sealed.take()).await?;
        let shared = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || shared.open(&index, frame, sealed)).await;
        opened.map_err(|_| BackupError::PipelineEnded)?
    }

    fn open(&self, index: &Index, frame: usize, mut sealed: Vec<u8>) -> Result<Bytes> {
        let idle = self.unpackers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut unpacker = idle.map_or_else(Unpacker::new, Ok)?;
        let mut plain = self.buffers.take();
        let opened = index.open(frame, &mut sealed, &mut unpacker, &mut plain);
        self.unpackers.lock().unwrap_or_else(PoisonError::into_inner).push(unpacker);
        self.sealed.give_back(sealed);
        opened.map(|()| self.buffers.share(plain))
    }

    /// The index of a pack, opened once for all chunks that are wanted of it about now.
    async fn index(&self, number: u32) -> Result<Arc<Index>> {
        let cell = {
            let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
            let known = packs.iter().find(|(known, _)| *known == number).map(|(_, cell)| Arc::clone(cell));
            known.unwrap_or_else(|| {
                let cell = Arc::default();
                packs.truncate(RECENT_PACKS - 1);
                packs.push_front((number, Arc::clone(&cell)));
                cell
            })
        };
        let pack = self.pack_ref(number)?;
        cell.get_or_try_init(async || open_index(&self.inside, pack).await.map(Arc::new)).await.cloned()
    }

    fn forget(&self, pack: u32) {
        let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        packs.retain(|(known, _)| *known != pack);
    }

    fn chunk_ref(&self, number: u64) -> Result<ChunkRef> {
        let chunk = usize::try_from(number).ok().and_then(|at| self.content.chunks.get(at)).copied();
        chunk.ok_or_else(|| BackupError::damaged("the manifest", "it names a chunk that it lacks"))
    }

    fn pack_ref(&self, number: u32) -> Result<&PackRef> {
        let pack = usize::try_from(number).ok().and_then(|at| self.content.packs.get(at));
        pack.ok_or_else(|| BackupError::damaged("the manifest", "it names a pack that it lacks"))
    }
}

/// Reads the header and the index of a pack.
pub(crate) async fn open_index(inside: &Inside, pack: &PackRef) -> Result<Index> {
    let head = read_part(inside, pack, 0..HEADER_BYTES as u64, Vec::new());
    let begins = match pack.frames {
        0 => index_of(inside, pack).await?,
        frames => pack.bytes.saturating_sub(Index::bytes_of(frames)),
    };
    let tail = read_part(inside, pack, begins..pack.bytes, Vec::new());
    let (head, tail) = tokio::try_join!(head, tail)?;
    Index::new(&inside.ring, &pack.path, (&head, &tail), pack.bytes, pack.frames)
}

/// Where the index of a pack begins, by its last bytes: for who does not know how many frames it has.
async fn index_of(inside: &Inside, pack: &PackRef) -> Result<u64> {
    let last = pack.bytes.saturating_sub(FOOTER_BYTES as u64)..pack.bytes;
    let footer = read_part(inside, pack, last, Vec::new()).await?;
    let begins = footer.try_into().map(u64::from_le_bytes).ok();
    let begins = begins.filter(|begins| (HEADER_BYTES as u64..pack.bytes).contains(begins));
    begins.ok_or_else(|| BackupError::damaged(&pack.path, "it is cut off, or its end is not its own"))
}

/// Reads a part of a pack, which must have as many bytes as the manifest says.
pub(crate) async fn read_part(
    inside: &Inside,
    pack: &PackRef,
    part: Range<u64>,
    buffer: Vec<u8>,
) -> Result<Vec<u8>> {
    let (read, bytes) = inside.store.read_part(&pack.path, part, buffer).await?;
    if bytes != pack.bytes {
        return Err(BackupError::damaged(
            &pack.path,
            format!("it has {bytes} bytes instead of {}", pack.bytes),
        ));
    }
    Ok(read)
}

impl std::fmt::Debug for ChunkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChunkReader({} chunks)", self.chunks())
    }
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pieces({} bytes left)", self.left)
    }
}
