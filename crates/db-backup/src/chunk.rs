//! A chunk: what a stream is cut into, what it is called, and where it is stored.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most plain bytes in one chunk: 4 MiB.
///
/// Independent chunks of this size cost no compression and no speed against one stream, and each can be
/// compressed, checked and fetched alone.
pub const CHUNK_BYTES: usize = 4 << 20;

/// What a chunk is called: the BLAKE3 hash of its plain bytes.
///
/// ```
/// use db_backup::ChunkId;
///
/// let id = ChunkId::of(b"page");
/// assert_eq!(id.to_string().parse::<ChunkId>(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

/// A text that is no chunk's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a chunk's name: 64 hexadecimal digits are")]
pub struct InvalidChunkId;

/// Where one chunk is stored. In JSON: `[id, pack, frame, offset, stored_bytes, plain_bytes]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Row", from = "Row")]
pub struct ChunkRef {
    /// The hash of its plain bytes.
    pub id: ChunkId,
    /// Which of [`ChunkTable::packs`] holds it.
    pub pack: u32,
    /// Which frame of the pack it is, from 0 on.
    pub frame: u32,
    /// Where the frame begins in the pack, in bytes.
    pub offset: u64,
    /// How many bytes the frame takes there, tag included.
    pub stored_bytes: u32,
    /// How many bytes the chunk has, at most [`CHUNK_BYTES`].
    pub plain_bytes: u32,
}

type Row = (ChunkId, u32, u32, u64, u32, u32);

/// One object that holds chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRef {
    /// Where it is, from the root of the repository.
    pub path: String,
    /// How many bytes it has, so that a truncated one is known by its size.
    pub bytes: u64,
    /// How many chunks it holds. 0 where the manifest does not say, as those of before 2026-11-28: then its
    /// index says.
    #[serde(default)]
    pub frames: u32,
}

/// The chunks of one backup in the order of its stream, and the packs that hold them.
///
/// A file is a stretch of that stream ([`Extent`]). A pack may belong to an earlier backup: a chunk that is
/// known already is not stored again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkTable {
    /// The objects that hold the chunks.
    pub packs: Vec<PackRef>,
    /// The chunks, in the order of the stream.
    pub chunks: Vec<ChunkRef>,
}

/// Where a file lies in the stream of chunks: from `offset` in chunk number `chunk` on, over as many of the
/// following chunks as its size takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extent {
    /// The number of the chunk in which it begins.
    pub chunk: u64,
    /// Where it begins in that chunk, in plain bytes.
    pub offset: u32,
    /// How many bytes it has.
    pub bytes: u64,
}

impl ChunkId {
    /// The name of these bytes.
    pub fn of(plain: &[u8]) -> Self {
        ChunkId(*blake3::hash(plain).as_bytes())
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

impl FromStr for ChunkId {
    type Err = InvalidChunkId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unhex(text).map(ChunkId).ok_or(InvalidChunkId)
    }
}

impl Serialize for ChunkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChunkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl From<ChunkRef> for Row {
    fn from(chunk: ChunkRef) -> Self {
        (chunk.id, chunk.pack, chunk.frame, chunk.offset, chunk.stored_bytes, chunk.plain_bytes)
    }
}

impl From<Row> for ChunkRef {
    fn from((id, pack, frame, offset, stored_bytes, plain_bytes): Row) -> Self {
        ChunkRef { id, pack, frame, offset, stored_bytes, plain_bytes }
    }
}

/// Bytes as hexadecimal digits, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that these digits say; `None` where they are none, or not that many.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
