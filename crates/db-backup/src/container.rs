//! Whole objects in memory, sealed from frames. `opened.rs` is the way back.
//!
//! A frame's plain bytes are a codec (one byte) and data. Behind the frames comes the index, which is a frame
//! that is sealed as the last one, and behind that where the index begins. So an object that was cut off at
//! the end of a frame is noticed, and one frame can be fetched without the others.

use std::io::Cursor;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zstd::zstd_safe::{CParameter, Strategy};

use crate::chunk::{CHUNK_BYTES, ChunkId};
use crate::error::{BackupError, Result};
use crate::keys::KeyRing;
use crate::opened::Index;
use crate::seal::{FrameNumber, LENGTH_BYTES, Sealer, TAG_BYTES};
use crate::settings::Compression;

pub(crate) const CODEC_NONE: u8 = 0;
pub(crate) const CODEC_ZSTD: u8 = 1;

/// What an index says of one frame. In JSON: `[chunk, offset, stored_bytes, plain_bytes]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexRow(pub(crate) ChunkId, pub(crate) u64, pub(crate) u32, pub(crate) u32);

/// An object that is being sealed.
pub(crate) struct Container {
    sealer: Sealer,
    bytes: Vec<u8>,
    index: Vec<IndexRow>,
}

/// A chunk, compressed and not yet sealed.
pub(crate) struct Frame {
    pub(crate) id: ChunkId,
    pub(crate) plain_bytes: u32,
    /// Codec and data.
    pub(crate) packed: Vec<u8>,
}

/// Compresses chunks, one after the other.
pub(crate) struct Packer {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        let zstd = match compression {
            Compression::None => None,
            Compression::Zstd(level) => Some(
                zstd::bulk::Compressor::new(i32::from(level))
                    .map_err(|error| BackupError::io("preparing zstd", error))?,
            ),
        };
        Ok(Packer { zstd })
    }

    /// For pages of a server's files. At level 3 they are searched by one hash table in place of two, for
    /// matches of at least 6 bytes in place of 5: shorter ones are mostly numbers that are alike by chance,
    /// and cost more than they save.
    pub(crate) fn of_pages(compression: Compression) -> Result<Self> {
        let mut packer = Packer::new(compression)?;
        if let (Compression::Zstd(3), Some(zstd)) = (compression, &mut packer.zstd) {
            for parameter in [CParameter::Strategy(Strategy::ZSTD_fast), CParameter::MinMatch(6)] {
                zstd.set_parameter(parameter).map_err(|error| BackupError::io("preparing zstd", error))?;
            }
        }
        Ok(packer)
    }

    /// Hashes and compresses a chunk of at most [`CHUNK_BYTES`].
    pub(crate) fn pack(&mut self, plain: &[u8]) -> Result<Frame> {
        let id = ChunkId::of(plain);
        self.pack_as(id, plain)
    }

    pub(crate) fn pack_as(&mut self, id: ChunkId, plain: &[u8]) -> Result<Frame> {
        self.pack_into(id, plain, Vec::new())
    }

    /// Packs into this buffer, so that it can be used again. No more of it is touched than the packed bytes
    /// need.
    pub(crate) fn pack_into(&mut self, id: ChunkId, plain: &[u8], mut packed: Vec<u8>) -> Result<Frame> {
        packed.clear();
        packed.reserve_exact(1 + zstd::zstd_safe::compress_bound(plain.len()) + TAG_BYTES);
        packed.push(CODEC_ZSTD);
        let mut shrunk = false;
        if let Some(zstd) = &mut self.zstd {
            let mut behind = Cursor::new(&mut packed);
            behind.set_position(1);
            let bytes = zstd
                .compress_to_buffer(plain, &mut behind)
                .map_err(|error| BackupError::io("compressing a chunk", error))?;
            shrunk = bytes < plain.len();
        }
        if !shrunk {
            packed.clear();
            packed.push(CODEC_NONE);
            packed.extend_from_slice(plain);
        }
        Ok(Frame { id, plain_bytes: u32::try_from(plain.len()).unwrap_or(u32::MAX), packed })
    }
}

impl Container {
    pub(crate) fn create(ring: &KeyRing, path: &str, capacity: usize) -> Result<Self> {
        Container::create_in(ring, path, Vec::with_capacity(capacity))
    }

    /// The same in a buffer that was used before.
    pub(crate) fn create_in(ring: &KeyRing, path: &str, mut bytes: Vec<u8>) -> Result<Self> {
        let (sealer, header) = Sealer::create(ring, path)?;
        bytes.clear();
        bytes.extend_from_slice(&header);
        Ok(Container { sealer, bytes, index: Vec::new() })
    }

    /// Seals a frame and appends it; where it lies comes back.
    pub(crate) fn push(&mut self, mut frame: Frame) -> Result<IndexRow> {
        self.push_from(&mut frame)
    }

    /// The same where the frame's buffer is used again.
    pub(crate) fn push_from(&mut self, frame: &mut Frame) -> Result<IndexRow> {
        let number = self.number(false);
        let offset = self.bytes.len() as u64;
        let stored = self.append(number, &mut frame.packed)?;
        let row = IndexRow(frame.id, offset, stored, frame.plain_bytes);
        self.index.push(row);
        Ok(row)
    }

    /// How many frames it has.
    pub(crate) fn frames(&self) -> u32 {
        u32::try_from(self.index.len()).unwrap_or(u32::MAX)
    }

    /// Whether the object has at most so many bytes when this frame is in it.
    pub(crate) fn has_room(&self, frame: &Frame, most: usize) -> bool {
        let index = Index::bytes_of(self.frames().saturating_add(1));
        let frame = frame.packed.len() + LENGTH_BYTES + TAG_BYTES;
        self.bytes.len().saturating_add(frame) as u64 + index <= most as u64
    }

    /// Appends the index, and returns the object.
    pub(crate) fn finish(mut self) -> Result<Bytes> {
        let begins = self.bytes.len() as u64;
        let number = self.number(true);
        let mut packed = vec![CODEC_NONE];
        serde_json::to_writer(&mut packed, &self.index)
            .map_err(|error| BackupError::io("writing an index", error.into()))?;
        self.append(number, &mut packed)?;
        self.bytes.extend_from_slice(&begins.to_le_bytes());
        Ok(Bytes::from(self.bytes))
    }

    fn number(&self, last: bool) -> FrameNumber {
        FrameNumber { number: self.frames(), last }
    }

    fn append(&mut self, number: FrameNumber, packed: &mut Vec<u8>) -> Result<u32> {
        self.sealer.seal(number, packed)?;
        let length = u32::try_from(packed.len()).map_err(|_| BackupError::Misuse("a frame of 4 GiB"))?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(packed);
        Ok(length)
    }
}

/// Seals these plain bytes as one object at this path.
pub(crate) fn seal_whole(ring: &KeyRing, path: &str, plain: &[u8], packer: &mut Packer) -> Result<Bytes> {
    let mut container = Container::create(ring, path, plain.len() / 2 + 1024)?;
    for chunk in plain.chunks(CHUNK_BYTES) {
        container.push(packer.pack(chunk)?)?;
    }
    container.finish()
}
