//! Whole objects in memory: sealed from frames, and opened again.
//!
//! A frame's plain bytes are a codec (one byte) and data. Behind the frames comes the index, which is a frame
//! that is sealed as the last one, and behind that where the index begins. So an object that was cut off at
//! the end of a frame is noticed, and one frame can be fetched without the others.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::chunk::{CHUNK_BYTES, ChunkId, ChunkRef};
use crate::error::{BackupError, Result};
use crate::keys::KeyRing;
use crate::seal::{FOOTER_BYTES, FrameNumber, HEADER_BYTES, LENGTH_BYTES, Sealer};
use crate::settings::Compression;

const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;

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

/// Opens packed chunks.
pub(crate) struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
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

    /// Hashes and compresses a chunk of at most [`CHUNK_BYTES`].
    pub(crate) fn pack(&mut self, plain: &[u8]) -> Result<Frame> {
        let id = ChunkId::of(plain);
        self.pack_as(id, plain)
    }

    pub(crate) fn pack_as(&mut self, id: ChunkId, plain: &[u8]) -> Result<Frame> {
        self.pack_into(id, plain, Vec::new())
    }

    /// Packs into this buffer, so that it can be used again: large allocations that come and go on many threads
    /// leave an allocator holding far more than is in use.
    pub(crate) fn pack_into(&mut self, id: ChunkId, plain: &[u8], mut packed: Vec<u8>) -> Result<Frame> {
        packed.clear();
        let room = zstd::zstd_safe::compress_bound(plain.len());
        packed.reserve(1 + room + crate::seal::TAG_BYTES);
        let mut shrunk = None;
        if let Some(zstd) = &mut self.zstd {
            packed.resize(1 + room, 0);
            let bytes = zstd
                .compress_to_buffer(plain, &mut packed[1..])
                .map_err(|error| BackupError::io("compressing a chunk", error))?;
            shrunk = (bytes < plain.len()).then_some(bytes);
        }
        match shrunk {
            Some(bytes) => {
                packed.truncate(1 + bytes);
                packed[0] = CODEC_ZSTD;
            }
            None => {
                packed.clear();
                packed.push(CODEC_NONE);
                packed.extend_from_slice(plain);
            }
        }
        Ok(Frame { id, plain_bytes: u32::try_from(plain.len()).unwrap_or(u32::MAX), packed })
    }
}

impl Unpacker {
    pub(crate) fn new() -> Result<Self> {
        let zstd = zstd::bulk::Decompressor::new();
        Ok(Unpacker { zstd: zstd.map_err(|error| BackupError::io("preparing zstd", error))? })
    }

    /// The plain bytes, at most [`CHUNK_BYTES`]; `None` where they were not packed.
    pub(crate) fn unpack(&mut self, packed: &[u8]) -> Option<Vec<u8>> {
        match packed.split_first()? {
            (&CODEC_NONE, data) => Some(data.to_vec()),
            (&CODEC_ZSTD, data) => {
                let plain_bytes = zstd::zstd_safe::get_frame_content_size(data).ok().flatten()?;
                let plain_bytes = usize::try_from(plain_bytes).ok().filter(|bytes| *bytes <= CHUNK_BYTES)?;
                self.zstd.decompress(data, plain_bytes).ok()
            }
            _ => None,
        }
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

    /// How many bytes it has so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
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

/// Opens a whole object and returns its plain bytes.
pub(crate) fn open_whole(ring: &KeyRing, path: &str, object: &Bytes) -> Result<Vec<u8>> {
    let opened = Opened::new(ring, path, object)?;
    let mut unpacker = Unpacker::new()?;
    let mut plain = Vec::new();
    for number in 0..opened.index.len() {
        plain.append(&mut opened.chunk(number, &mut unpacker)?);
    }
    Ok(plain)
}

/// A whole object whose index was opened.
pub(crate) struct Opened {
    path: String,
    object: Bytes,
    sealer: Sealer,
    pub(crate) index: Vec<IndexRow>,
}

impl Opened {
    /// Opens the index, and holds it against the object.
    pub(crate) fn new(ring: &KeyRing, path: &str, object: &Bytes) -> Result<Self> {
        let damaged = |what: &str| BackupError::damaged(path, what);
        let sealer = Sealer::open(ring, path, object)?;
        let footer = object.len().checked_sub(FOOTER_BYTES).filter(|at| *at >= HEADER_BYTES);
        let (sealed, begins) =
            footer.and_then(|at| object.split_at_checked(at)).ok_or_else(|| damaged("it is cut off"))?;
        let begins = begins.try_into().map(u64::from_le_bytes).ok().and_then(|at| usize::try_from(at).ok());
        let (frames, last) = begins
            .filter(|at| *at >= HEADER_BYTES)
            .and_then(|at| sealed.split_at_checked(at))
            .ok_or_else(|| damaged("it is cut off, or its end is not its own"))?;
        let count = frame_count(frames).ok_or_else(|| damaged("its frames do not follow each other"))?;
        let mut index = framed(last).ok_or_else(|| damaged("its index is cut off"))?.to_vec();
        let plain = sealer
            .open_frame(FrameNumber { number: count, last: true }, &mut index)
            .and_then(|plain| plain.strip_prefix(&[CODEC_NONE]))
            .ok_or_else(|| damaged("its index is not what was written"))?;
        let index: Vec<IndexRow> =
            serde_json::from_slice(plain).map_err(|_| damaged("its index is of another kind"))?;
        if u32::try_from(index.len()) != Ok(count) {
            return Err(damaged("its index names other frames"));
        }
        Ok(Opened { path: path.to_owned(), object: object.clone(), sealer, index })
    }

    /// Where this chunk is, if it is where the manifest says.
    pub(crate) fn holds(&self, chunk: &ChunkRef) -> bool {
        let row = usize::try_from(chunk.frame).ok().and_then(|frame| self.index.get(frame));
        row.is_some_and(|row| (row.0, row.1, row.2) == (chunk.id, chunk.offset, chunk.stored_bytes))
    }

    /// The plain bytes of one frame, checked against its hash.
    pub(crate) fn chunk(&self, number: usize, unpacker: &mut Unpacker) -> Result<Vec<u8>> {
        let row =
            self.index.get(number).ok_or_else(|| BackupError::damaged(&self.path, "it has no such frame"))?;
        let at = usize::try_from(row.1).ok().and_then(|at| self.object.get(at..));
        let end = usize::try_from(row.2).unwrap_or(usize::MAX).saturating_add(LENGTH_BYTES);
        let stored = at.and_then(|at| at.get(..end));
        let stored = stored.ok_or_else(|| BackupError::damaged(&self.path, "a frame is cut off"))?;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let plain = open_chunk(&self.sealer, &self.path, number, stored, unpacker)?;
        if ChunkId::of(&plain) != row.0 {
            return Err(BackupError::damaged(&self.path, format!("frame {number} unpacks to other bytes")));
        }
        Ok(plain)
    }
}

/// Opens and unpacks one frame, its length in front.
pub(crate) fn open_chunk(
    sealer: &Sealer,
    path: &str,
    number: u32,
    stored: &[u8],
    unpacker: &mut Unpacker,
) -> Result<Vec<u8>> {
    let damaged = |what: &str| BackupError::damaged(path, format!("frame {number} {what}"));
    let mut sealed = framed(stored).ok_or_else(|| damaged("has another length"))?.to_vec();
    let packed = sealer
        .open_frame(FrameNumber { number, last: false }, &mut sealed)
        .ok_or_else(|| damaged("is not what was written"))?;
    unpacker.unpack(packed).ok_or_else(|| damaged("does not unpack"))
}

/// The sealed bytes behind their length, if these are all there is.
fn framed(stored: &[u8]) -> Option<&[u8]> {
    let (length, sealed) = stored.split_first_chunk::<LENGTH_BYTES>()?;
    (usize::try_from(u32::from_le_bytes(*length)) == Ok(sealed.len())).then_some(sealed)
}

/// How many frames lie behind the header; `None` where they do not end where they should.
fn frame_count(frames: &[u8]) -> Option<u32> {
    let mut rest = frames.get(HEADER_BYTES..)?;
    let mut count = 0_u32;
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        rest = behind.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)?;
        count = count.checked_add(1)?;
    }
    Some(count)
}
