//! Writes the files of one backup: chunks side by side, each fetched only where what is on the disk is not
//! the same.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::layout::{Piece, layout};
use super::owner::Owner;
use crate::chunk::ChunkId;
use crate::manifest::{Manifest, Root, What};
use crate::physical_error::PhysicalError;
use crate::progress::{Observer, Progress};
use crate::{BackupError, ChunkReader, Cluster};

/// The file without which no server starts: it is written last.
const CONTROL: &str = "global/pg_control";

/// Where the files of a backup go.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    pub(super) data: PathBuf,
    pub(super) tablespaces: BTreeMap<u32, PathBuf>,
    pub(super) config: Option<PathBuf>,
    /// Whether what lies beside the data is written, as pg_combinebackup needs it.
    pub(super) beside: bool,
    /// A directory that may have some of it already.
    pub(super) old: Option<PathBuf>,
    /// The same for its tablespaces.
    pub(super) old_tablespaces: BTreeMap<u32, PathBuf>,
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    pub(super) fetched_bytes: u64,
    pub(super) kept_bytes: u64,
    /// The content of `pg_control`, for the end.
    pub(super) control: Vec<u8>,
}

struct Shared {
    reader: ChunkReader,
    pieces: Vec<Vec<Piece>>,
    /// Where each file goes; `None` where it is left out.
    places: Vec<Option<PathBuf>>,
    /// Where each file lies already, perhaps in part; `None` where nothing of it can.
    old: Vec<Option<PathBuf>>,
    control: Option<usize>,
    fetched: AtomicU64,
    kept: AtomicU64,
}

impl Roots {
    fn of(&self, root: &Root) -> Option<&Path> {
        match root {
            Root::Data => Some(&self.data),
            Root::Tablespace(oid) => self.tablespaces.get(oid).map(PathBuf::as_path),
            Root::Config => self.config.as_deref(),
            Root::Beside => self.beside.then_some(&self.data),
            Root::Dump(_) => None,
        }
    }

    fn old_of(&self, root: &Root) -> Option<PathBuf> {
        match root {
            Root::Data => self.old.clone(),
            Root::Tablespace(oid) => self.old_tablespaces.get(oid).cloned(),
            _ => None,
        }
    }
}

/// Writes all files but `pg_control`.
pub(super) async fn write(
    cluster: &Cluster,
    manifest: &Manifest,
    roots: &Roots,
    workers: usize,
    observer: &Observer,
) -> Result<Done, PhysicalError> {
    let Prepared { places, old } = prepare(manifest, roots)?;
    let is_control = |file: &crate::File| file.root == Root::Data && file.path == CONTROL;
    let shared = Arc::new(Shared {
        reader: cluster.reader(manifest, 1),
        pieces: layout(manifest)?,
        places,
        old,
        control: manifest.files.iter().position(is_control),
        fetched: AtomicU64::new(0),
        kept: AtomicU64::new(0),
    });
    let mut done = Done::default();
    let total = Some(manifest.summary.figures.plain_bytes);
    let mut tasks = JoinSet::new();
    let mut next = 0..shared.pieces.len();
    loop {
        while tasks.len() < workers.max(1) + 1
            && let Some(number) = next.next()
        {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move { chunk(shared, number).await });
        }
        let Some(ended) = tasks.join_next().await else { break };
        let control = ended.map_err(|_| BackupError::PipelineEnded)??;
        done.control.extend(control.unwrap_or_default());
        let bytes = shared.fetched.load(Ordering::Relaxed) + shared.kept.load(Ordering::Relaxed);
        observer(Progress::Bytes { done: bytes, total });
    }
    done.fetched_bytes = shared.fetched.load(Ordering::Relaxed);
    done.kept_bytes = shared.kept.load(Ordering::Relaxed);
    Ok(done)
}

/// Writes `pg_control`, and sees to it that everything is on the disk before and after. It appears at once,
/// whole and its owner's: with it a restore is finished, whatever ends this process.
pub(super) fn write_control(data: &Path, content: &[u8], owner: Option<Owner>) -> Result<(), PhysicalError> {
    sync(data)?;
    let path = data.join(CONTROL);
    let unfinished = path.with_extension("unfinished");
    let written = (|| {
        fs::write(&unfinished, content)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
        if let Some(Owner { uid, gid }) = owner {
            lchown(&unfinished, Some(uid), Some(gid))?;
        }
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(data.join("global"))?.sync_all()
    })();
    written.map_err(PhysicalError::at("write", &path))
}

/// Everything on the file system of this directory is on the disk when this returns.
pub(super) fn sync(directory: &Path) -> Result<(), PhysicalError> {
    let opened = File::open(directory);
    let synced = opened.and_then(|file| rustix::fs::syncfs(&file).map_err(io::Error::from));
    synced.map_err(PhysicalError::at("sync", directory))
}

/// What was made for the files, by their numbers.
#[derive(Default)]
struct Prepared {
    places: Vec<Option<PathBuf>>,
    old: Vec<Option<PathBuf>>,
}

/// Makes directories, links and empty files of the right size.
fn prepare(manifest: &Manifest, roots: &Roots) -> Result<Prepared, PhysicalError> {
    let mut prepared = Prepared::default();
    for path in roots.tablespaces.values().chain([&roots.data]) {
        directory(path)?;
    }
    for file in &manifest.files {
        let place = place(file, roots)?;
        let old = roots.old_of(&file.root).map(|old| old.join(&file.path));
        // What was made just now has nothing to keep: it is not read, nor are its zeros hashed.
        let is_new = place.as_ref().is_some_and(|(path, made)| *made && old.as_ref() == Some(path));
        prepared.old.push(old.filter(|old| !is_new && old.is_file()));
        prepared.places.push(place.map(|(path, _)| path));
    }
    Ok(prepared)
}

/// Makes one of them; where its content goes, and whether nothing was there before.
fn place(file: &crate::File, roots: &Roots) -> Result<Option<(PathBuf, bool)>, PhysicalError> {
    let Some(root) = roots.of(&file.root) else { return Ok(None) };
    let path = inside(root, &file.path)?;
    match &file.what {
        What::Directory => directory(&path)?,
        What::Link { to } => link(roots, &file.path, to, &path)?,
        What::File { extent } => {
            if let Some(parent) = path.parent() {
                directory(parent)?;
            }
            if file.root != Root::Data || file.path != CONTROL {
                let made =
                    empty(&path, extent.bytes, file.mode).map_err(PhysicalError::at("create", &path))?;
                return Ok(Some((path, made)));
            }
            // Until the end no server may start here, nor on what an earlier restore left.
            let _ = fs::remove_file(&path);
        }
    }
    Ok(None)
}

/// A file of this size; whether it was not there before.
fn empty(path: &Path, bytes: u64, mode: u32) -> io::Result<bool> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let is_new = made.is_ok();
    let file = made.or_else(|_| OpenOptions::new().write(true).create(true).truncate(false).open(path))?;
    file.set_len(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(is_new)
}

fn directory(path: &Path) -> Result<(), PhysicalError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(PhysicalError::at("create", path))
}

/// A link of a tablespace leads to where that goes now; `pg_wal` elsewhere becomes a directory.
fn link(roots: &Roots, name: &str, to: &str, path: &Path) -> Result<(), PhysicalError> {
    let oid = name.strip_prefix("pg_tblspc/").and_then(|oid| oid.parse::<u32>().ok());
    let Some(oid) = oid else { return directory(path) };
    let to = roots.tablespaces.get(&oid).map_or_else(|| PathBuf::from(to), PathBuf::clone);
    let _ = fs::remove_file(path);
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    std::os::unix::fs::symlink(&to, path).map_err(PhysicalError::at("create", path))
}

/// A name in a manifest never leads out of its root.
fn inside(root: &Path, name: &str) -> Result<PathBuf, PhysicalError> {
    use std::path::Component;
    let plain =
        Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err(PhysicalError::Stream {
            reason: format!("the name {name:?} leads out of the data directory"),
        });
    }
    Ok(root.join(name))
}

/// One chunk: taken from the disk if it is there, else fetched; then written to its files.
async fn chunk(shared: Arc<Shared>, number: usize) -> Result<Option<Vec<u8>>, PhysicalError> {
    if shared.pieces[number].iter().all(|piece| shared.wants(piece.file).is_none()) {
        return Ok(None);
    }
    let ended = || PhysicalError::Repository(BackupError::PipelineEnded);
    let looks = Arc::clone(&shared);
    let there = tokio::task::spawn_blocking(move || looks.there(number)).await.map_err(|_| ended())?;
    let bytes = match there {
        Some(bytes) => {
            shared.kept.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            bytes
        }
        None => {
            let bytes = shared.reader.chunk(number as u64).await?;
            shared.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            bytes
        }
    };
    tokio::task::spawn_blocking(move || shared.put(number, &bytes)).await.map_err(|_| ended())?
}

impl Shared {
    /// Whether the file is written, or kept for the end.
    fn wants(&self, file: usize) -> Option<()> {
        (self.places[file].is_some() || self.control == Some(file)).then_some(())
    }

    /// The chunk as the disk has it, if that is what the backup has.
    fn there(&self, number: usize) -> Option<Bytes> {
        let chunk = self.reader.chunk_ref(number as u64).ok()?;
        let pieces = &self.pieces[number];
        let covered: usize = pieces.iter().map(|piece| piece.bytes).sum();
        if covered != chunk.plain_bytes as usize || pieces.iter().any(|piece| self.old[piece.file].is_none())
        {
            return None;
        }
        let buffers = self.reader.buffers();
        let mut bytes = buffers.take();
        bytes.resize(covered, 0);
        let read = pieces.iter().try_for_each(|piece| {
            let file = File::open(self.old[piece.file].as_ref()?).ok()?;
            file.read_exact_at(&mut bytes[piece.from..piece.from + piece.bytes], piece.at).ok()
        });
        if read.is_some() && ChunkId::of(&bytes) == chunk.id {
            return Some(buffers.share(bytes));
        }
        buffers.give_back(bytes);
        None
    }

    /// Writes the pieces of a chunk; returns what belongs to `pg_control`.
    fn put(&self, number: usize, bytes: &[u8]) -> Result<Option<Vec<u8>>, PhysicalError> {
        let mut control = None;
        for piece in &self.pieces[number] {
            let Some(content) = bytes.get(piece.from..piece.from + piece.bytes) else {
                return Err(PhysicalError::Stream {
                    reason: "a chunk is shorter than its manifest says".to_owned(),
                });
            };
            if self.control == Some(piece.file) {
                control = Some(content.to_vec());
                continue;
            }
            let Some(path) = &self.places[piece.file] else { continue };
            let written = OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|file| file.write_all_at(content, piece.at));
            written.map_err(PhysicalError::at("write", path))?;
        }
        Ok(control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_is_refused() {
        let root = Path::new("/data");
        assert_eq!(inside(root, "base/5/1").unwrap(), Path::new("/data/base/5/1"));
        for name in ["../etc/passwd", "/etc/passwd", "base/../../x"] {
            assert!(inside(root, name).is_err(), "{name}");
        }
    }
}
