//! restore_command: gets a file of the log out of the repository, and the next ones along with it.
//!
//! The case people get wrong is the exit status. A status from 1 to 125 tells the server that the file does not exist: it
//! ends its recovery there and takes writes. So that is said only where the repository says it; all else is fatal.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::control::{data_directory_of, system_of};
use super::{History, WalError, pages, tail};
use crate::physical_error::PhysicalError;
use crate::wal_name::{Segment, WalName};
use crate::wal_page::SegmentHeader;
use crate::{BackupError, Cluster, Repository};

/// The exit status of a restore_command that could not find out whether the file exists: above 125, so that the server
/// ends instead of taking writes with part of the log missing.
pub const FATAL_EXIT: u8 = 200;

/// How files are fetched.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// Where segments lie that were fetched ahead; `None` fetches none.
    pub spool: Option<PathBuf>,
    /// How many segments are fetched ahead.
    pub ahead: usize,
    /// How many segments are fetched at a time.
    pub workers: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        FetchConfig { spool: None, ahead: 7, workers: 2 }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The file is at its destination.
    Restored,
    /// The repository has no such file: exit status 1.
    NotThere,
}

/// Fetches the file `name`, which the server gives as %f, to `destination`, %p.
///
/// The file appears at once and whole, and is on the disk when this returns.
///
/// # Errors
/// [`PhysicalError`], whenever it is not certain that there is no such file: end with [`FATAL_EXIT`] then.
pub async fn fetch(
    repository: &Repository,
    name: &str,
    destination: &Path,
    config: &FetchConfig,
) -> Result<Fetched, PhysicalError> {
    let name: WalName = name.parse().map_err(|_| WalError::Name(name.to_owned()))?;
    let system = system_of(data_directory_of(destination))?;
    let cluster = repository.cluster(system);
    let Some((segment, spool)) = name.segment().zip(config.spool.as_deref()) else {
        let Some(content) = get(&cluster, name).await? else {
            return received(&cluster, name, destination).await;
        };
        write(destination, &content)?;
        return Ok(Fetched::Restored);
    };
    forget_before(spool, segment);
    if let Some(content) = ahead(spool, segment, system) {
        write(destination, &content)?;
        let _ = fs::remove_file(spool.join(segment.to_string()));
        return Ok(Fetched::Restored);
    }
    let Some(content) = get(&cluster, name).await? else {
        return received(&cluster, name, destination).await;
    };
    write(destination, &content)?;
    let size = SegmentHeader::of(&content).map(|header| header.segment_bytes);
    drop(content);
    if let Some(size) = size {
        fetch_ahead(&cluster, segment, size, spool, config).await;
    }
    Ok(Fetched::Restored)
}

/// A segment that is not there may have been received in part: that part is where the log ends.
async fn received(cluster: &Cluster, name: WalName, destination: &Path) -> Result<Fetched, PhysicalError> {
    let Some(segment) = name.segment() else { return Ok(Fetched::NotThere) };
    let Some(content) = tail::assembled(cluster, segment).await? else { return Ok(Fetched::NotThere) };
    write(destination, &content)?;
    Ok(Fetched::Restored)
}

/// Gets a file and checks that it is the one.
async fn get(cluster: &Cluster, name: WalName) -> Result<Option<Bytes>, PhysicalError> {
    let Some(content) = cluster.get_wal(name).await? else { return Ok(None) };
    match name {
        WalName::Segment(segment) => pages::check(segment, &content)?,
        WalName::History(timeline) => {
            History::parse(timeline, &String::from_utf8_lossy(&content))?;
        }
        WalName::Partial(_) | WalName::BackupHistory(..) => {}
    }
    Ok(Some(content))
}

/// Fetches the segments behind this one into the spool. What fails here is asked for again, and then told.
async fn fetch_ahead(cluster: &Cluster, segment: Segment, size: u32, spool: &Path, config: &FetchConfig) {
    if fs::create_dir_all(spool).is_err() {
        return;
    }
    let mut tasks = JoinSet::new();
    let (mut next, mut left) = (segment.next(size), config.ahead);
    loop {
        while left > 0 && tasks.len() < config.workers.max(1) {
            let (cluster, path, wanted) = (cluster.clone(), spool.join(next.to_string()), next);
            (next, left) = (next.next(size), left - 1);
            if path.exists() {
                continue;
            }
            tasks.spawn(async move {
                let content = get(&cluster, WalName::Segment(wanted)).await.ok().flatten();
                content.is_some_and(|content| write(&path, &content).is_ok())
            });
        }
        match tasks.join_next().await {
            None => return,
            Some(found) => {
                if !found.unwrap_or(false) {
                    left = 0;
                }
            }
        }
    }
}

/// A segment that was fetched ahead, if it is whole.
fn ahead(spool: &Path, segment: Segment, system: u64) -> Option<Bytes> {
    let content = fs::read(spool.join(segment.to_string())).ok()?;
    if SegmentHeader::unfit(segment, system, &content).is_some() {
        return None;
    }
    pages::check(segment, &content).ok()?;
    Some(Bytes::from(content))
}

fn forget_before(spool: &Path, segment: Segment) {
    let Ok(entries) = fs::read_dir(spool) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let held = name.to_str().and_then(|name| name.parse::<WalName>().ok()?.segment());
        let left_over = name.to_str().is_some_and(|name| name.starts_with(UNFINISHED));
        if left_over || held.is_some_and(|held| held < segment) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// How the names of files begin that are being written.
const UNFINISHED: &str = ".unfinished-";

/// Writes a file so that it appears at once, whole and for good.
fn write(destination: &Path, content: &[u8]) -> Result<(), PhysicalError> {
    let directory =
        destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = destination.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let unfinished = directory.join(format!("{UNFINISHED}{name}-{}", std::process::id()));
    let written = (|| {
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, destination)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.map_err(|source| {
        PhysicalError::Repository(BackupError::io(format!("cannot write {}", destination.display()), source))
    })
}
