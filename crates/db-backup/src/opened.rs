//! Opens objects: first the index, then frames, each by itself or all of them.
//!
//! The index is sealed as the frame behind the last one, so that it opens says how many there are. Its rows
//! say where each frame lies; together they must cover the whole object, so nothing in it escapes.

use std::io::Cursor;
use std::ops::Range;

use bytes::Bytes;

use crate::chunk::{CHUNK_BYTES, ChunkId, ChunkRef};
use crate::container::{CODEC_NONE, CODEC_ZSTD, IndexRow};
use crate::error::{BackupError, Result};
use crate::keys::KeyRing;
use crate::seal::{FOOTER_BYTES, FrameNumber, HEADER_BYTES, LENGTH_BYTES, Sealer, TAG_BYTES};

/// How many bytes a row of an index has at most: its hash in hexadecimal and three numbers.
const ROW_BYTES: u64 = 112;
/// And at least.
const LEAST_ROW_BYTES: u64 = 72;

/// Opens packed chunks.
pub(crate) struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
}

/// What header and index of an object say.
pub(crate) struct Index {
    path: String,
    sealer: Sealer,
    rows: Vec<IndexRow>,
}

/// A whole object in memory, whose frames are opened in place and one after the other.
pub(crate) struct Whole {
    index: Index,
    object: Vec<u8>,
    next: usize,
    unpacker: Unpacker,
}

impl Unpacker {
    pub(crate) fn new() -> Result<Self> {
        let zstd = zstd::bulk::Decompressor::new();
        Ok(Unpacker { zstd: zstd.map_err(|error| BackupError::io("preparing zstd", error))? })
    }

    /// Appends the plain bytes, at most [`CHUNK_BYTES`]; `None` where they were not packed.
    fn unpack(&mut self, packed: &[u8], plain: &mut Vec<u8>) -> Option<()> {
        match packed.split_first()? {
            (&CODEC_NONE, data) => plain.extend_from_slice(data),
            (&CODEC_ZSTD, data) => {
                let bytes = zstd::zstd_safe::get_frame_content_size(data).ok().flatten()?;
                let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= CHUNK_BYTES)?;
                plain.reserve_exact(bytes);
                let begins = plain.len() as u64;
                let mut behind = Cursor::new(plain);
                behind.set_position(begins);
                self.zstd.decompress_to_buffer(data, &mut behind).ok()?;
            }
            _ => return None,
        }
        Some(())
    }
}

impl Index {
    /// How many bytes at the end of an object with so many frames hold its index.
    pub(crate) fn bytes_of(frames: u32) -> u64 {
        u64::from(frames) * ROW_BYTES + (LENGTH_BYTES + TAG_BYTES + FOOTER_BYTES + 8) as u64
    }

    /// From the beginning of an object of so many bytes, its header, and from its end, its index. Of 0 frames
    /// means that it is not known of how many.
    pub(crate) fn new(
        ring: &KeyRing,
        path: &str,
        (head, tail): (&[u8], &[u8]),
        bytes: u64,
        frames: u32,
    ) -> Result<Self> {
        let damaged = |what: &str| BackupError::damaged(path, what);
        let sealer = Sealer::open(ring, path, head)?;
        let (sealed, begins) =
            tail.split_last_chunk::<FOOTER_BYTES>().ok_or_else(|| damaged("it is cut off"))?;
        let begins = u64::from_le_bytes(*begins);
        let skipped = bytes.checked_sub(tail.len() as u64).and_then(|at| begins.checked_sub(at));
        let last = skipped.and_then(|skipped| sealed.get(usize::try_from(skipped).ok()?..));
        let last = last.ok_or_else(|| damaged("it is cut off, or its end is not its own"))?;
        let index = framed(last).ok_or_else(|| damaged("its index is cut off"))?;
        // The number of frames is bound to what is sealed, so only the right one opens it.
        let bytes = index.len() as u64;
        let possible = match frames {
            0 => bytes / ROW_BYTES..=bytes / LEAST_ROW_BYTES,
            known => u64::from(known)..=u64::from(known),
        };
        let plain = possible.filter_map(|number| u32::try_from(number).ok()).find_map(|number| {
            let mut index = index.to_vec();
            let plain = sealer.open_frame(FrameNumber { number, last: true }, &mut index)?;
            Some((number, plain.strip_prefix(&[CODEC_NONE])?.to_vec()))
        });
        let (frames, plain) = plain.ok_or_else(|| damaged("its index is not what was written"))?;
        let rows: Vec<IndexRow> =
            serde_json::from_slice(&plain).map_err(|_| damaged("its index is of another kind"))?;
        let end = rows.iter().try_fold(HEADER_BYTES as u64, |at, row| {
            (row.1 == at).then_some(at + LENGTH_BYTES as u64 + u64::from(row.2))
        });
        if end != Some(begins) || u32::try_from(rows.len()) != Ok(frames) {
            return Err(damaged("its index names other frames"));
        }
        Ok(Index { path: path.to_owned(), sealer, rows })
    }

    /// How many frames it has.
    pub(crate) fn frames(&self) -> usize {
        self.rows.len()
    }

    /// Whether this chunk is where the manifest says.
    pub(crate) fn holds(&self, chunk: &ChunkRef) -> bool {
        let row = usize::try_from(chunk.frame).ok().and_then(|frame| self.rows.get(frame));
        row.is_some_and(|row| (row.0, row.1, row.2) == (chunk.id, chunk.offset, chunk.stored_bytes))
    }

    /// Where a frame lies in the object, its length in front.
    pub(crate) fn place(&self, frame: usize) -> Result<Range<u64>> {
        let row = self.row(frame)?;
        Ok(row.1..row.1 + LENGTH_BYTES as u64 + u64::from(row.2))
    }

    /// Opens a frame in place, its length in front, and appends its plain bytes, which are checked against
    /// their hash.
    pub(crate) fn open(
        &self,
        frame: usize,
        stored: &mut [u8],
        unpacker: &mut Unpacker,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let row = self.row(frame)?;
        let begins = plain.len();
        let number = u32::try_from(frame).unwrap_or(u32::MAX);
        open_frame(&self.sealer, &self.path, number, stored, unpacker, plain)?;
        if ChunkId::of(&plain[begins..]) != row.0 {
            return Err(BackupError::damaged(&self.path, format!("frame {number} unpacks to other bytes")));
        }
        Ok(())
    }

    fn row(&self, frame: usize) -> Result<&IndexRow> {
        self.rows.get(frame).ok_or_else(|| BackupError::damaged(&self.path, "it has no such frame"))
    }
}

impl Whole {
    /// Opens its index.
    pub(crate) fn new(ring: &KeyRing, path: &str, object: Vec<u8>) -> Result<Self> {
        let frames = frame_count(&object).ok_or_else(|| {
            BackupError::damaged(path, "it is cut off, or its frames do not follow each other")
        })?;
        let index = Index::new(ring, path, (&object, &object), object.len() as u64, frames)?;
        Ok(Whole { index, object, next: 0, unpacker: Unpacker::new()? })
    }

    /// Its memory, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.object
    }

    /// What its frames' plain bytes are called.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ChunkId> {
        self.index.rows.iter().map(|row| row.0)
    }

    /// How many plain bytes all its frames have.
    pub(crate) fn plain_bytes(&self) -> u64 {
        self.index.rows.iter().map(|row| u64::from(row.3)).sum()
    }

    /// Appends the plain bytes of the next frame; `false` behind the last.
    pub(crate) fn next(&mut self, plain: &mut Vec<u8>) -> Result<bool> {
        if self.next == self.index.frames() {
            return Ok(false);
        }
        let place = self.index.place(self.next)?;
        let place = usize::try_from(place.start).unwrap_or(usize::MAX)
            ..usize::try_from(place.end).unwrap_or(usize::MAX);
        // Nothing opens as the empty frame that stands for one that lies behind the end.
        let stored = self.object.get_mut(place).unwrap_or_default();
        self.index.open(self.next, stored, &mut self.unpacker, plain)?;
        self.next += 1;
        Ok(true)
    }
}

/// Opens a whole object and returns its plain bytes.
pub(crate) fn open_whole(ring: &KeyRing, path: &str, object: Bytes) -> Result<Vec<u8>> {
    let mut whole = Whole::new(ring, path, object.into())?;
    let mut plain = Vec::with_capacity(usize::try_from(whole.plain_bytes()).unwrap_or(0));
    while whole.next(&mut plain)? {}
    Ok(plain)
}

/// Opens a frame in place, its length in front, and appends its plain bytes.
pub(crate) fn open_frame(
    sealer: &Sealer,
    path: &str,
    number: u32,
    stored: &mut [u8],
    unpacker: &mut Unpacker,
    plain: &mut Vec<u8>,
) -> Result<()> {
    let damaged = |what: &str| BackupError::damaged(path, format!("frame {number} {what}"));
    framed(stored).ok_or_else(|| damaged("has another length"))?;
    let packed = sealer
        .open_frame(FrameNumber { number, last: false }, &mut stored[LENGTH_BYTES..])
        .ok_or_else(|| damaged("is not what was written"))?;
    unpacker.unpack(packed, plain).ok_or_else(|| damaged("does not unpack"))
}

/// The sealed bytes behind their length, if these are all there is.
fn framed(stored: &[u8]) -> Option<&[u8]> {
    let (length, sealed) = stored.split_first_chunk::<LENGTH_BYTES>()?;
    (usize::try_from(u32::from_le_bytes(*length)) == Ok(sealed.len())).then_some(sealed)
}

/// How many frames a whole object has before its index; `None` where they do not end where they should.
fn frame_count(object: &[u8]) -> Option<u32> {
    let (sealed, begins) = object.split_last_chunk::<FOOTER_BYTES>()?;
    let begins = usize::try_from(u64::from_le_bytes(*begins)).ok()?;
    let mut rest = sealed.get(..begins)?.get(HEADER_BYTES..)?;
    let mut count = 0_u32;
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        rest = behind.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)?;
        count = count.checked_add(1)?;
    }
    Some(count)
}
