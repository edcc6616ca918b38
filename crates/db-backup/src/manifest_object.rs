//! How a manifest is stored: its summary in the first frame, files and chunks in the following ones.

use std::io::{BufReader, Read};

use bytes::Bytes;

use crate::backup_id::BackupId;
use crate::chunk::CHUNK_BYTES;
use crate::container::{Container, Packer};
use crate::error::{BackupError, Result};
use crate::keys::KeyRing;
use crate::manifest::{MANIFEST_FORMAT, Manifest, Summary};
use crate::opened::{Unpacker, Whole, open_frame};
use crate::repository::Inside;
use crate::seal::{HEADER_BYTES, LENGTH_BYTES, Sealer};
use crate::settings::Compression;

/// How much is read at first: most summaries fit in.
const FIRST_READ_BYTES: u64 = 16 << 10;

/// The object of a manifest.
pub(crate) fn sealed(ring: &KeyRing, path: &str, manifest: &Manifest) -> Result<Bytes> {
    let unwritten = |error: serde_json::Error| BackupError::io("writing a manifest", error.into());
    let mut packer = Packer::new(Compression::Zstd(3))?;
    let mut container = Container::create(ring, path, 64 << 10)?;
    let summary = serde_json::to_vec(&manifest.summary).map_err(unwritten)?;
    container.push(packer.pack(&summary)?)?;
    let mut body = Pieces { container, packer, piece: Vec::new(), failed: None };
    let written = serde_json::to_writer(&mut body, &(&manifest.files, &manifest.content));
    if let Some(error) = body.failed.take() {
        return Err(error);
    }
    written.map_err(unwritten)?;
    body.finish()
}

/// The manifest at this path; `None` where there is none.
pub(crate) async fn read(
    inside: &Inside,
    path: &str,
    id: &BackupId,
    system_identifier: u64,
) -> Result<Option<Manifest>> {
    let Some(object) = inside.store.get_in(path, Vec::new()).await? else { return Ok(None) };
    let mut whole = Whole::new(&inside.ring, path, object)?;
    let mut first = Vec::new();
    if !whole.next(&mut first)? {
        return Err(BackupError::damaged(path, "it is cut off"));
    }
    let summary = summary_of(path, &first, id, system_identifier)?;
    let mut body = Body { whole, frame: first, read: usize::MAX, failed: None };
    let read = serde_json::from_reader(BufReader::with_capacity(64 << 10, &mut body));
    if let Some(error) = body.failed.take() {
        return Err(error);
    }
    let (files, content) = read
        .map_err(|error| BackupError::damaged(path, format!("its files are of another schema: {error}")))?;
    Ok(Some(Manifest { summary, files, content }))
}

/// The summary of the manifest at this path; `None` where there is none. The rest of it is not looked at.
pub(crate) async fn read_summary(
    inside: &Inside,
    path: &str,
    id: &BackupId,
    system_identifier: u64,
) -> Result<Option<Summary>> {
    let Some(there) = inside.store.head(path).await? else { return Ok(None) };
    let mut object = inside.store.get_range(path, 0..there.bytes.min(FIRST_READ_BYTES)).await?;
    let sealer = Sealer::open(&inside.ring, path, &object)?;
    let cut_off = || BackupError::damaged(path, "it is cut off");
    let length = object
        .get(HEADER_BYTES..HEADER_BYTES + LENGTH_BYTES)
        .and_then(|length| length.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(cut_off)?;
    let end = (HEADER_BYTES + LENGTH_BYTES) as u64 + u64::from(length);
    if end > there.bytes {
        return Err(cut_off());
    }
    if end > object.len() as u64 {
        object = inside.store.get_range(path, 0..end).await?;
    }
    let end = usize::try_from(end).map_err(|_| cut_off())?;
    let mut frame = object.get(HEADER_BYTES..end).ok_or_else(cut_off)?.to_vec();
    let mut plain = Vec::new();
    open_frame(&sealer, path, 0, &mut frame, &mut Unpacker::new()?, &mut plain)?;
    summary_of(path, &plain, id, system_identifier).map(Some)
}

fn summary_of(path: &str, plain: &[u8], id: &BackupId, system_identifier: u64) -> Result<Summary> {
    // The format is read alone first: a newer schema may lack what this one requires.
    #[derive(serde::Deserialize)]
    struct Versioned {
        format: u32,
    }
    let other =
        |error: serde_json::Error| BackupError::damaged(path, format!("it is of another schema: {error}"));
    let Versioned { format } = serde_json::from_slice(plain).map_err(other)?;
    if format > MANIFEST_FORMAT {
        return Err(BackupError::TooNew { path: path.to_owned(), found: format, known: MANIFEST_FORMAT });
    }
    let summary: Summary = serde_json::from_slice(plain).map_err(other)?;
    if summary.id != *id || summary.server.system_identifier != system_identifier {
        return Err(BackupError::damaged(path, "it is another backup's"));
    }
    Ok(summary)
}

/// The frames of a manifest one after the other, so that its text is never in memory as a whole.
struct Body {
    whole: Whole,
    frame: Vec<u8>,
    read: usize,
    failed: Option<BackupError>,
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.read >= self.frame.len() {
            self.read = 0;
            self.frame.clear();
            match self.whole.next(&mut self.frame) {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(std::io::Error::other("a frame was not opened"));
                }
            }
        }
        let rest = &self.frame[self.read..];
        let taken = rest.len().min(into.len());
        into[..taken].copy_from_slice(&rest[..taken]);
        self.read += taken;
        Ok(taken)
    }
}

/// Cuts what is written into frames, so that a manifest is never in memory twice.
struct Pieces {
    container: Container,
    packer: Packer,
    piece: Vec<u8>,
    failed: Option<BackupError>,
}

impl Pieces {
    fn push(&mut self) -> Result<()> {
        let frame = self.packer.pack(&self.piece)?;
        self.container.push(frame)?;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Bytes> {
        if !self.piece.is_empty() {
            self.push()?;
        }
        self.container.finish()
    }
}

impl std::io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == CHUNK_BYTES {
            self.push().map_err(|error| {
                self.failed = Some(error);
                std::io::Error::other("a frame was not sealed")
            })?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
