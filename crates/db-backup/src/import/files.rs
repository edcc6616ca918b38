//! Reads the files of one backup of pgBackRest's, with bounded memory, and holds each against its checksum.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::blocks::{self, SuperBlock};
use super::catalog::Source;
use super::codec::Codec;
use super::decode::{Arriving, Form, Sha1};
use super::error::ImportError;
use super::manifest::{Blocks, Entry, Listing};
use crate::error::BackupError;
use crate::store::Store;
use crate::writer::ChunkWriter;

/// How many stored bytes are fetched at a time.
const FETCH_BYTES: u64 = 4 << 20;
/// A file of at most so many bytes is unpacked whole.
const SMALL_BYTES: u64 = 4 << 20;
/// How many bytes of unpacked super blocks are kept, because the blocks of a file come from several in turns.
const KEPT_BYTES: usize = 16 << 20;

/// Reads files in the order of [`in_reading_order`](super::manifest::in_reading_order).
pub(super) struct Files<'a> {
    source: &'a Source,
    listing: &'a Listing,
    window: Window,
    kept: VecDeque<(String, u64, Arc<Vec<u8>>)>,
}

/// The last stretch of an object that was fetched.
struct Window {
    path: String,
    from: u64,
    bytes: Bytes,
}

impl<'a> Files<'a> {
    pub(super) fn new(source: &'a Source, listing: &'a Listing) -> Self {
        let window = Window { path: String::new(), from: 0, bytes: Bytes::new() };
        Files { source, listing, window, kept: VecDeque::new() }
    }

    /// Writes the first of these entries; the others say what is read next.
    pub(super) async fn write(&mut self, entries: &[Entry], to: &mut ChunkWriter) -> Result<(), ImportError> {
        let Some(entry) = entries.first() else { return Ok(()) };
        let (bytes, sha1) = match entry.blocks {
            _ if entry.bytes == 0 => return Ok(()),
            Some(blocks) => self.write_blocks(entry, blocks, to).await?,
            None if entry.stored_bytes.max(entry.bytes) <= SMALL_BYTES => {
                let plain = self.small(entries).await?;
                to.write(&plain).await?;
                (plain.len() as u64, sha1_of(&plain))
            }
            None => self.write_large(entry, to).await?,
        };
        if bytes != entry.bytes {
            return Err(ImportError::damaged(self.shown(entry), "it has another length"));
        }
        if Some(sha1) != entry.sha1 {
            return Err(ImportError::damaged(self.shown(entry), "its SHA-1 is another one"));
        }
        Ok(())
    }

    /// The content of a small file, held against its checksum.
    pub(super) async fn read(&mut self, entry: &Entry) -> Result<Vec<u8>, ImportError> {
        let plain = match entry.blocks {
            None if entry.bytes <= SMALL_BYTES => self.small(std::slice::from_ref(entry)).await?,
            _ => return Err(ImportError::damaged(self.shown(entry), "it is larger than it should be")),
        };
        if Some(sha1_of(&plain)) != entry.sha1 {
            return Err(ImportError::damaged(self.shown(entry), "its SHA-1 is another one"));
        }
        Ok(plain)
    }

    async fn small(&mut self, entries: &[Entry]) -> Result<Vec<u8>, ImportError> {
        let Some(entry) = entries.first() else { return Ok(Vec::new()) };
        let path = self.path(entry);
        let (from, _) = range(entry);
        let same = entries.iter().take_while(|next| self.path(next) == path && next.blocks.is_none());
        let until = same.map(|next| range(next).1).take_while(|until| until - from <= FETCH_BYTES).max();
        let end = from + entry.stored_bytes;
        let store = &self.source.store;
        let stored = self.window.part(store, &path, from, end, until.unwrap_or(end).max(end)).await?;
        let (form, most) = (self.form(entry), entry.bytes);
        let plain = blocking(move || form.whole(&stored, most)).await?;
        plain.map_err(|error| ImportError::damaged(self.shown(entry), error.to_string()))
    }

    /// A large file goes through a thread of its own while the next stretch is fetched.
    async fn write_large(&self, entry: &Entry, to: &mut ChunkWriter) -> Result<(u64, String), ImportError> {
        let (stored, arriving) = mpsc::channel(1);
        let (pieces, mut plain) = mpsc::channel(2);
        let (form, most) = (self.form(entry), entry.bytes);
        let decoding =
            tokio::task::spawn_blocking(move || form.pieces(Arriving::new(arriving), most, &pieces));
        let fetching = fetch(self.source.store.clone(), self.path(entry), range(entry), stored);
        let writing = async {
            while let Some(piece) = plain.recv().await {
                to.write(&piece).await?;
            }
            drop(plain);
            Ok::<(), ImportError>(())
        };
        let (fetched, written) = tokio::join!(fetching, writing);
        let decoded = decoding.await.map_err(|_| BackupError::PipelineEnded)?;
        written?;
        // What was not fetched whole cannot be decoded: the first cause is told.
        fetched?;
        decoded.map_err(|error| ImportError::damaged(self.shown(entry), error.to_string()))
    }

    async fn write_blocks(
        &mut self,
        entry: &Entry,
        blocks: Blocks,
        to: &mut ChunkWriter,
    ) -> Result<(u64, String), ImportError> {
        let shown = self.shown(entry);
        let damaged = |what: &str| ImportError::damaged(&shown, what);
        let end = range(entry).1;
        let from = end.checked_sub(blocks.map_bytes).ok_or_else(|| damaged("its map has no room"))?;
        let stored = self.source.store.get_range(&self.path(entry), from..end).await?;
        // A map has a checksum for each block and a few numbers more.
        let form = Form { passphrase: self.listing.passphrase.clone(), codec: Codec::None, raw: true };
        let map = form.whole(&stored, blocks.map_bytes).map_err(|error| damaged(&error.to_string()))?;
        let most = entry.bytes.div_ceil(blocks.block_bytes.max(1));
        let map = blocks::blocks(&map, blocks.block_bytes, blocks.checksum_bytes, most)
            .ok_or_else(|| damaged("its map of blocks cannot be read"))?;
        let (mut bytes, mut sha1) = (0, Sha1::new());
        for (at, block) in map.iter().enumerate() {
            let plain = self.super_block(entry, &map[at..], &shown).await?;
            let begin = block.number.checked_mul(blocks.block_bytes).and_then(|at| usize::try_from(at).ok());
            let part = begin.and_then(|begin| plain.get(begin..)).filter(|part| !part.is_empty());
            let part = part.ok_or_else(|| damaged("a block lies behind the end of its super block"))?;
            let part = &part[..part.len().min(usize::try_from(blocks.block_bytes).unwrap_or(usize::MAX))];
            sha1.add(part);
            bytes += part.len() as u64;
            to.write(part).await?;
        }
        Ok((bytes, sha1.finish()))
    }

    /// The super block of the first of these blocks; the others say what is read next.
    async fn super_block(
        &mut self,
        entry: &Entry,
        ahead: &[blocks::Block],
        shown: &str,
    ) -> Result<Arc<Vec<u8>>, ImportError> {
        let Some(block) = ahead.first() else { return Ok(Arc::default()) };
        let path = self.block_path(entry, &block.place, shown)?;
        let is_kept =
            |(at, offset, _): &&(String, u64, Arc<Vec<u8>>)| *at == path && *offset == block.place.offset;
        if let Some((_, _, plain)) = self.kept.iter().find(is_kept) {
            return Ok(Arc::clone(plain));
        }
        let from = block.place.offset;
        let end = |place: &SuperBlock| place.offset.saturating_add(place.stored_bytes);
        let mut until = end(&block.place);
        for next in ahead.iter().map(|block| block.place) {
            let follows = (next.reference, next.bundle) == (block.place.reference, block.place.bundle)
                && next.offset <= until
                && end(&next).saturating_sub(from) <= FETCH_BYTES;
            if !follows {
                break;
            }
            until = until.max(end(&next));
        }
        let store = &self.source.store;
        let stored = self.window.part(store, &path, from, end(&block.place), until).await?;
        let (form, most) = (Form { raw: true, ..self.form(entry) }, block.place.plain_bytes);
        let plain = blocking(move || form.whole(&stored, most)).await?;
        let plain = Arc::new(plain.map_err(|error| ImportError::damaged(shown, error.to_string()))?);
        self.kept.push_back((path, from, Arc::clone(&plain)));
        while self.kept.len() > 1
            && self.kept.iter().map(|(_, _, plain)| plain.len()).sum::<usize>() > KEPT_BYTES
        {
            self.kept.pop_front();
        }
        Ok(plain)
    }

    fn block_path(&self, entry: &Entry, place: &SuperBlock, shown: &str) -> Result<String, ImportError> {
        let holder = self.listing.references.get(place.reference);
        let holder = holder
            .ok_or_else(|| ImportError::damaged(shown, "a block refers to a backup that is not named"))?;
        let root = format!("backup/{}/{holder}", self.source.stanza);
        Ok(match place.bundle {
            0 => format!("{root}/{}.pgbi", entry.name),
            bundle => format!("{root}/bundle/{bundle}"),
        })
    }

    fn path(&self, entry: &Entry) -> String {
        let root = format!("backup/{}/{}", self.source.stanza, entry.holder);
        match (entry.bundle, entry.blocks) {
            (Some((bundle, _)), _) => format!("{root}/bundle/{bundle}"),
            (None, Some(_)) => format!("{root}/{}.pgbi", entry.name),
            (None, None) => format!("{root}/{}{}", entry.name, self.listing.codec.suffix()),
        }
    }

    fn form(&self, entry: &Entry) -> Form {
        Form {
            passphrase: self.listing.passphrase.clone(),
            codec: self.listing.codec,
            raw: entry.bundle.is_some() && self.listing.raw_bundles,
        }
    }

    /// How messages call a file: by the object that has it, and by its name where that is a bundle.
    fn shown(&self, entry: &Entry) -> String {
        let path = self.path(entry);
        if entry.bundle.is_some() { format!("{} in {path}", entry.name) } else { path }
    }
}

impl Window {
    /// A part of an object, fetched up to `until` if it is not there yet.
    async fn part(
        &mut self,
        store: &Store,
        path: &str,
        from: u64,
        end: u64,
        until: u64,
    ) -> Result<Bytes, BackupError> {
        let has = |window: &Window| {
            window.path == path && window.from <= from && end <= window.from + window.bytes.len() as u64
        };
        if !has(self) {
            let bytes = store.get_range(path, from..until).await?;
            *self = Window { path: path.to_owned(), from, bytes };
        }
        let place = |at: u64| usize::try_from(at - self.from).unwrap_or(usize::MAX);
        Ok(self.bytes.slice(place(from)..place(end)))
    }
}

async fn fetch(
    store: Store,
    path: String,
    (mut from, end): (u64, u64),
    to: mpsc::Sender<Bytes>,
) -> Result<(), BackupError> {
    while from < end {
        let until = end.min(from + FETCH_BYTES);
        let bytes = store.get_range(&path, from..until).await?;
        // The other end has failed, and tells why.
        if to.send(bytes).await.is_err() {
            break;
        }
        from = until;
    }
    Ok(())
}

/// Where an entry lies in its object: its beginning and its end.
fn range(entry: &Entry) -> (u64, u64) {
    let from = entry.bundle.map_or(0, |(_, offset)| offset);
    (from, from.saturating_add(entry.stored_bytes))
}

fn sha1_of(bytes: &[u8]) -> String {
    let mut sha1 = Sha1::new();
    sha1.add(bytes);
    sha1.finish()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<io::Result<T>, BackupError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BackupError::PipelineEnded)
}
