//! archive_command: puts a file of the log into the repository, and the next ones that are ready along with
//! it.
//!
//! The server asks for one file at a time and waits. So one call archives several that are ready, side by
//! side, and marks them; the calls that follow find their marks. Nothing is copied to a spool, so nothing can
//! fill a disk, and no file is acknowledged before the server asks for it: a file that fails holds up those
//! behind it, as it must.
//!
//! Segments are read, compressed and sealed side by side, and stored in their order: a segment is in the
//! repository only when all before it are, so that a call that dies, and its host with it, leaves no gap.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::control::{data_directory_of, system_of};
use super::marks::{Marks, said_of};
use super::pages::Check;
use super::{History, WalError};
use crate::buffers::LogBuffers;
use crate::physical_error::PhysicalError;
use crate::wal_name::{Segment, WalName};
use crate::{Cluster, Compression, Repository, WalPut};

/// How files are pushed.
///
/// ```
/// let config = db_backup::wal::PushConfig::new("/var/spool/db-backup");
/// assert!(config.ahead > 0);
/// ```
#[derive(Debug, Clone)]
pub struct PushConfig {
    /// Where marks are kept: some bytes for each segment that was archived ahead.
    pub spool: PathBuf,
    /// How many segments one call archives besides the one that was asked for.
    pub ahead: usize,
    /// How many segments are compressed and stored at a time; each takes the memory of what it is compressed
    /// to, and 8 MiB.
    pub workers: usize,
    /// How hard segments are compressed.
    pub compression: Compression,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the repository now; so many others were put there with it.
    Stored {
        /// How many others.
        ahead: usize,
    },
    /// It was there already, with the same content.
    AlreadyThere,
}

impl PushConfig {
    /// With marks in this directory, and the defaults.
    pub fn new(spool: impl Into<PathBuf>) -> Self {
        PushConfig { spool: spool.into(), ahead: 31, workers: 2, compression: Compression::default() }
    }
}

/// Whether an earlier call has archived this file already. It needs no repository, so ask it before one is
/// opened.
///
/// # Errors
/// Where the path ends in no name of a file of the log.
pub fn pushed_before(path: &Path, config: &PushConfig) -> Result<bool, PhysicalError> {
    let Some(segment) = name_of(path)?.segment() else { return Ok(false) };
    Ok(Marks::below(&config.spool).take(segment, path))
}

/// Archives the file at `path`, which the server gives as %p. When this returns `Ok`, the repository has it
/// for good.
///
/// # Errors
/// A [`PhysicalError`]: the program's exit status must then be from 1 to 120, because the server takes a
/// higher one for a crash of the command and does not count it as a failure. Another content under the same
/// name is [`BackupError::WalConflict`](crate::BackupError::WalConflict).
///
/// # Cancel safety
/// Dropping the future may leave a segment stored; pushing it again finds it there.
pub async fn push(
    repository: &Repository,
    path: &Path,
    config: &PushConfig,
) -> Result<Pushed, PhysicalError> {
    let name = name_of(path)?;
    let system = system_of(data_directory_of(path))?;
    let cluster = repository.cluster(system);
    let Some(segment) = name.segment() else {
        let buffers = Arc::default();
        let stored = store(&cluster, name, path.to_owned(), config.compression, &buffers, Turn(None)).await;
        return stored.map(Pushed::from);
    };
    let marks = Marks::below(&config.spool);
    if marks.take(segment, path) {
        return Ok(Pushed::AlreadyThere);
    }
    marks.forget_before(segment);
    let mut wanted = vec![segment];
    wanted.extend(ready_behind(path, segment, config.ahead));
    let mut results = side_by_side(&cluster, path, &wanted, config).await.into_iter();
    let first = results
        .next()
        .map_or(Err(PhysicalError::Repository(crate::BackupError::PipelineEnded)), |one| one.1)?;
    let mut ahead = 0;
    for (said, result) in results {
        let (Ok(_), Some(said)) = (result, said) else { break };
        if let Err(error) = marks.put(wanted[ahead + 1], &said) {
            // The segment is stored: without its mark the next call only looks for it in the repository.
            tracing::warn!(%error, "a segment that was archived ahead is not marked; make room in the spool");
            break;
        }
        ahead += 1;
    }
    Ok(match first {
        WalPut::AlreadyThere if ahead == 0 => Pushed::AlreadyThere,
        _ => Pushed::Stored { ahead },
    })
}

impl From<WalPut> for Pushed {
    fn from(put: WalPut) -> Self {
        match put {
            WalPut::Stored | WalPut::StoredBeside => Pushed::Stored { ahead: 0 },
            WalPut::AlreadyThere => Pushed::AlreadyThere,
        }
    }
}

/// What the file was before it was read, and what became of it.
type Outcome = (Option<String>, Result<WalPut, PhysicalError>);

/// Stores segments, some at a time, and returns what became of each in their order.
async fn side_by_side(
    cluster: &Cluster,
    path: &Path,
    wanted: &[Segment],
    config: &PushConfig,
) -> Vec<Outcome> {
    let mut tasks = JoinSet::new();
    let mut before = None;
    let mut results: Vec<Option<Outcome>> = wanted.iter().map(|_| None).collect();
    let mut waiting = wanted.iter().enumerate();
    let buffers: Arc<LogBuffers> = Arc::default();
    loop {
        while tasks.len() < config.workers.max(1)
            && let Some((index, segment)) = waiting.next()
        {
            let file = path.with_file_name(segment.to_string());
            let (cluster, name, compression) =
                (cluster.clone(), WalName::Segment(*segment), config.compression);
            let buffers = Arc::clone(&buffers);
            let (done, next) = oneshot::channel();
            let turn = Turn(before.replace(next));
            tasks.spawn(async move {
                let said = said_of(&file);
                let result = store(&cluster, name, file, compression, &buffers, turn).await;
                if result.is_ok() {
                    // Nobody waits behind the last one.
                    let _ = done.send(());
                }
                (index, said, result)
            });
        }
        match tasks.join_next().await {
            None => break,
            Some(Ok((index, said, result))) => {
                // What comes behind a failure is not begun: it would be acknowledged later, if at all.
                if result.is_err() {
                    waiting = [].iter().enumerate();
                }
                results[index] = Some((said, result));
            }
            Some(Err(_)) => waiting = [].iter().enumerate(),
        }
    }
    results.into_iter().map_while(|result| result).collect()
}

/// When a segment may be stored: at once, or when the one before it is.
struct Turn(Option<oneshot::Receiver<()>>);

impl Turn {
    /// Fails where the one before it was not stored.
    async fn comes(self) -> Result<(), PhysicalError> {
        match self.0 {
            Some(before) => before.await.map_err(|_| crate::BackupError::PipelineEnded.into()),
            None => Ok(()),
        }
    }
}

/// Checks a file and puts it into the repository in its turn. Of a segment one chunk is in memory at a time.
async fn store(
    cluster: &Cluster,
    name: WalName,
    path: PathBuf,
    compression: Compression,
    buffers: &Arc<LogBuffers>,
    turn: Turn,
) -> Result<WalPut, PhysicalError> {
    let turn = turn.comes();
    match name {
        WalName::Segment(segment) => {
            let mut check = Check::new(segment);
            let look = move |piece: &[u8]| Ok::<_, PhysicalError>(check.look(piece)?);
            cluster.put_wal_file(name, &path, compression, buffers, look, turn).await
        }
        WalName::Partial(_) => {
            cluster.put_wal_file(name, &path, compression, buffers, |_| Ok(()), turn).await
        }
        WalName::History(_) | WalName::BackupHistory(..) => {
            let content = fs::read(&path).map_err(PhysicalError::at("read", &path))?;
            if let WalName::History(timeline) = name {
                History::parse(timeline, &String::from_utf8_lossy(&content))?;
            }
            Ok(cluster.put_wal(name, content.into(), compression).await?)
        }
    }
}

/// The segments behind this one that the server has marked as ready, in their order and without a gap.
fn ready_behind(path: &Path, segment: Segment, most: usize) -> Vec<Segment> {
    let ready = path.with_file_name("archive_status");
    let Ok(entries) = fs::read_dir(ready) else { return Vec::new() };
    let mut found: Vec<Segment> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_suffix(".ready")?.parse::<WalName>().ok()?.segment()
        })
        .filter(|other| other.timeline == segment.timeline && *other > segment)
        .collect();
    found.sort_unstable();
    found.truncate(most);
    // All segments are of one size, so the file that was asked for says which one is next.
    let segment_bytes =
        fs::metadata(path).ok().and_then(|about| u32::try_from(about.len()).ok()).unwrap_or(0);
    let mut last = segment;
    found.retain(|next| {
        let follows = segment_bytes.is_power_of_two() && *next == last.next(segment_bytes);
        last = if follows { *next } else { last };
        follows
    });
    found
}

fn name_of(path: &Path) -> Result<WalName, PhysicalError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.parse().map_err(|_| PhysicalError::Wal(WalError::Name(name.to_owned())))
}
