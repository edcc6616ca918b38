//! Cuts a stream into chunks, hashes and compresses them on several threads, seals them into packs and stores
//! these.
//!
//! Memory is bounded whatever the stream's size: a few chunks are under way, one pack is filled while another
//! is stored. A pack is one object that is put whole, so a put that failed is sent again and no half upload
//! stays behind.

mod known;
mod packs;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

pub(crate) use self::known::Known;

use self::packs::Packs;
use crate::buffers::Buffers;
use crate::chunk::{CHUNK_BYTES, ChunkId, ChunkTable, Extent};
use crate::container::{Frame, Packer};
use crate::error::{BackupError, Result};
use crate::inside::Inside;
use crate::settings::Compression;

/// A file of at least this size begins a chunk of its own, so that its chunks are the same in the next backup
/// whatever changed before it.
const OWN_CHUNK_BYTES: u64 = 1 << 20;

/// How a [`ChunkWriter`] works.
///
/// ```
/// use db_backup::{Compression, WriterOptions};
///
/// let options = WriterOptions { compression: Compression::Zstd(3), ..WriterOptions::default() };
/// assert_eq!(options.workers, 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterOptions {
    /// How chunks are compressed.
    pub compression: Compression,
    /// How many threads hash and compress, at least 1. Each takes from 7 to 10 MiB, by how far the data
    /// shrink.
    pub workers: usize,
    /// How large a pack is at most, in bytes, from 5 to 64 MiB. Two are in memory, so little more than 8 MiB
    /// keeps a whole backup below 64 MiB; at a distance where a request takes long, larger ones are faster.
    pub pack_bytes: usize,
}

/// Writes the files of one backup. [`Draft::writer`](crate::Draft::writer) makes one.
///
/// Dropped before [`finish`](ChunkWriter::finish) it stops; what it stored belongs to no backup.
///
/// ```
/// use db_backup::{ChunkWriter, Extent, Result};
///
/// async fn store(writer: &mut ChunkWriter, file: &[u8]) -> Result<Extent> {
///     writer.begin_file(file.len() as u64).await?;
///     writer.write(file).await?;
///     Ok(writer.end_file())
/// }
/// ```
#[derive(Debug)]
pub struct ChunkWriter {
    chunk: Vec<u8>,
    chunks: u64,
    file: Extent,
    pool: Arc<Pool>,
    /// For chunks that are under way: one for each thread.
    room: Arc<Semaphore>,
    under_way: Option<mpsc::UnboundedSender<UnderWay>>,
    packs: Option<JoinHandle<Result<Written>>>,
}

/// What a [`ChunkWriter`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The chunks in the order of the stream, and the packs that hold them.
    pub content: ChunkTable,
    /// Sizes and counts.
    pub statistics: WriterStatistics,
}

/// Sizes and counts of what a [`ChunkWriter`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStatistics {
    /// How many bytes the stream had.
    pub plain_bytes: u64,
    /// How many bytes were stored.
    pub stored_bytes: u64,
    /// How many chunks the stream had.
    pub chunks: u64,
    /// How many of them were stored before.
    pub reused: u64,
}

/// A chunk on its way, in the order of the stream.
struct UnderWay {
    packed: JoinHandle<Result<Packed>>,
    /// Given back when the chunk is in its pack.
    _room: OwnedSemaphorePermit,
}

/// A chunk that a thread is done with.
enum Packed {
    New(Frame),
    Known(ChunkId),
}

/// What the threads share.
struct Pool {
    compression: Compression,
    /// Whether most of it are pages of a server's files.
    of_pages: bool,
    known: Arc<Known>,
    packers: Mutex<Vec<Packer>>,
    /// For chunks.
    buffers: Buffers,
    /// For what chunks are packed to, which is mostly less.
    frames: Buffers,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions { compression: Compression::default(), workers: 2, pack_bytes: (8 << 20) + (64 << 10) }
    }
}

impl ChunkWriter {
    pub(crate) fn new(
        inside: Arc<Inside>,
        stem: String,
        known: Arc<Known>,
        of_pages: bool,
        options: WriterOptions,
    ) -> Result<Self> {
        let workers = options.workers.max(1);
        let pool = Arc::new(Pool {
            compression: options.compression,
            of_pages,
            known,
            packers: Mutex::default(),
            buffers: Buffers::default(),
            frames: Buffers::default(),
        });
        let (under_way, arriving) = mpsc::unbounded_channel();
        let pack_bytes = options.pack_bytes.clamp(5 << 20, 64 << 20);
        let packs = Packs::new(inside, stem, Arc::clone(&pool), pack_bytes);
        Ok(ChunkWriter {
            chunk: pool.buffers.take(),
            chunks: 0,
            file: Extent::default(),
            pool,
            room: Arc::new(Semaphore::new(workers)),
            under_way: Some(under_way),
            packs: Some(tokio::spawn(packs.collect(arriving))),
        })
    }

    /// Begins a file. `expected_bytes` decides whether it begins a chunk of its own; it need not be exact.
    ///
    /// # Errors
    /// An earlier chunk could not be stored.
    pub async fn begin_file(&mut self, expected_bytes: u64) -> Result<()> {
        if expected_bytes >= OWN_CHUNK_BYTES {
            self.align().await?;
        }
        let offset = u32::try_from(self.chunk.len()).unwrap_or(u32::MAX);
        self.file = Extent { chunk: self.chunks, offset, bytes: 0 };
        Ok(())
    }

    /// Ends the file: where it lies.
    pub fn end_file(&mut self) -> Extent {
        std::mem::replace(
            &mut self.file,
            Extent {
                chunk: self.chunks,
                offset: u32::try_from(self.chunk.len()).unwrap_or(u32::MAX),
                bytes: 0,
            },
        )
    }

    /// Writes the next bytes of the file. Waits while more chunks are under way than there is memory for.
    ///
    /// # Errors
    /// This or an earlier chunk could not be stored. What was written is of no use then.
    ///
    /// # Cancel safety
    /// Not: some of the bytes may have been written.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.file.bytes = self.file.bytes.saturating_add(bytes.len() as u64);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES {
                self.align().await?;
            }
        }
        Ok(())
    }

    /// Writes what was a chunk elsewhere as one here, so that places in the stream stay what they were.
    pub(crate) async fn write_chunk(&mut self, chunk: &[u8]) -> Result<()> {
        self.align().await?;
        self.chunk.extend_from_slice(chunk);
        self.align().await
    }

    /// Ends the stream: waits until everything is stored.
    ///
    /// # Errors
    /// A chunk could not be stored.
    pub async fn finish(mut self) -> Result<Written> {
        self.align().await?;
        self.under_way = None;
        self.stored().await
    }

    /// What is next begins a chunk of its own.
    async fn align(&mut self) -> Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
            return Err(BackupError::PipelineEnded);
        };
        let chunk = std::mem::replace(&mut self.chunk, self.pool.buffers.take());
        self.chunks += 1;
        let pool = Arc::clone(&self.pool);
        let packed = tokio::task::spawn_blocking(move || pool.pack(chunk));
        let sent = self.under_way.as_ref().map(|to| to.send(UnderWay { packed, _room: room }));
        match sent {
            Some(Ok(())) => Ok(()),
            // The other end only stops early for an error, which it returns.
            _ => self.stored().await.and(Err(BackupError::PipelineEnded)),
        }
    }

    async fn stored(&mut self) -> Result<Written> {
        let Some(packs) = self.packs.take() else { return Err(BackupError::PipelineEnded) };
        packs.await.unwrap_or(Err(BackupError::PipelineEnded))
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        if let Some(packs) = self.packs.take() {
            packs.abort();
        }
    }
}

impl Pool {
    /// Hashes and compresses a chunk; runs on a thread of its own.
    fn pack(&self, chunk: Vec<u8>) -> Result<Packed> {
        let id = ChunkId::of(&chunk);
        if self.known.has(id) {
            self.buffers.give_back(chunk);
            return Ok(Packed::Known(id));
        }
        let idle = self.packers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let new = if self.of_pages { Packer::of_pages } else { Packer::new };
        let mut packer = idle.map_or_else(|| new(self.compression), Ok)?;
        let frame = packer.pack_into(id, &chunk, self.frames.take());
        self.packers.lock().unwrap_or_else(PoisonError::into_inner).push(packer);
        self.buffers.give_back(chunk);
        frame.map(Packed::New)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.compression)
    }
}
