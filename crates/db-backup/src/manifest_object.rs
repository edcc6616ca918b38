//! How a manifest is stored: its summary in the first frame, files and chunks in the following ones.

use std::io::{BufReader, Read};

use bytes::Bytes;

use crate::backup_id::BackupId;
use crate::chunk::CHUNK_BYTES;
use crate::container::{Container, Packer};
use crate::error::{BackupError, Result};
use crate::inside::Inside;
use crate::keys::KeyRing;
use crate::manifest::{MANIFEST_FORMAT, Manifest, Summary};
use crate::opened::{Unpacker, Whole, open_frame};
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::chunk::ChunkTable;
    use crate::manifest::{File, Kind, Root, ServerFacts, What};
    use crate::{Cluster, Keys, Protection, Repository, Store, VerifyOptions, WriterOptions};

    /// Takes a backup of files that fill several packs, of several chunks each.
    async fn taken(cluster: &Cluster, base: Option<&Manifest>) -> Manifest {
        let draft = cluster.begin(Kind::Full, ServerFacts::default(), base).await.unwrap();
        let options = WriterOptions { compression: Compression::None, ..WriterOptions::default() };
        let mut writer = draft.writer(options).unwrap();
        let mut files = Vec::new();
        for number in 0..20_u8 {
            writer.begin_file(1 << 20).await.unwrap();
            writer.write(&vec![number; 900_000]).await.unwrap();
            files.push(File {
                path: number.to_string(),
                root: Root::Data,
                what: What::File { extent: writer.end_file() },
                mode: 0o600,
                modified: chrono::DateTime::UNIX_EPOCH,
            });
        }
        let content = writer.finish().await.unwrap().content;
        let summary = draft.publish(files, content).await.unwrap();
        cluster.manifest(&summary.id).await.unwrap()
    }

    /// Writes the manifest as versions before 2026-11-28 did: its packs do not say how many frames they have.
    fn write_as_before(directory: &std::path::Path, cluster: &Cluster, manifest: &Manifest) {
        let path = cluster.manifest_path(&manifest.summary.id);
        let mut content = serde_json::to_value(&manifest.content).unwrap();
        for pack in content["packs"].as_array_mut().unwrap() {
            assert!(matches!(pack.as_object_mut().unwrap().remove("frames"), Some(Value::Number(_))));
        }
        let mut packer = Packer::new(Compression::Zstd(3)).unwrap();
        let mut container = Container::create(&cluster.inside.ring, &path, 64 << 10).unwrap();
        for text in [
            serde_json::to_vec(&manifest.summary).unwrap(),
            serde_json::to_vec(&(&manifest.files, &content)).unwrap(),
        ] {
            container.push(packer.pack(&text).unwrap()).unwrap();
        }
        std::fs::write(directory.join(path), container.finish().unwrap()).unwrap();
    }

    #[tokio::test]
    async fn a_backup_whose_manifest_does_not_say_how_many_frames_a_pack_has_is_read_and_built_upon() {
        for protection in [Protection::Encrypted, Protection::Authenticated] {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::local(directory.path()).unwrap();
            let (repository, _) = Repository::init(store, &Keys::generate(), protection).await.unwrap();
            let cluster = repository.cluster(0);
            let new = taken(&cluster, None).await;
            let several = |content: &ChunkTable| content.packs.iter().any(|pack| pack.frames > 3);
            assert!(new.content.packs.len() > 1 && several(&new.content), "{:?}", new.content.packs);

            write_as_before(directory.path(), &cluster, &new);

            let old = cluster.manifest(&new.summary.id).await.unwrap();
            assert!(old.content.packs.iter().all(|pack| pack.frames == 0));
            // One that uses its chunks, and packs of which it uses only some.
            let reused = taken(&cluster, Some(&old)).await;
            assert_eq!(reused.summary.figures.reuses, std::slice::from_ref(&old.summary.id));
            for manifest in [&old, &reused] {
                let reader = cluster.reader(manifest, 2);
                for (number, file) in manifest.files.iter().enumerate() {
                    let read = reader.read_to_vec(file.extent().unwrap()).await.unwrap();
                    assert!(read == vec![u8::try_from(number).unwrap(); 900_000], "file {number}");
                }
            }
            let verdict = cluster.verify(VerifyOptions::default()).await.unwrap();
            assert!(verdict.holds(), "{:?}", verdict.findings);

            // A pack that was cut is still damage.
            let pack = directory.path().join(&old.content.packs[0].path);
            let bytes = std::fs::read(&pack).unwrap();
            std::fs::write(&pack, &bytes[..bytes.len() - 1]).unwrap();
            assert!(!cluster.verify(VerifyOptions::default()).await.unwrap().holds());
        }
    }
}
