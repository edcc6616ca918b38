//! restore_command: gets a file of the log out of the repository, and the next ones along with it.
//!
//! The case people get wrong is the exit status. A status from 1 to 125 tells the server that the file does not exist: it
//! ends its recovery there and takes writes. So that is said only where the repository says it; all else is fatal.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::control::{data_directory_of, system_of};
use super::pages::Check;
use super::{History, WalError, tail};
use crate::buffers::LogBuffers;
use crate::physical_error::PhysicalError;
use crate::wal_name::{Segment, WalName};
use crate::wal_page::SegmentHeader;
use crate::{BackupError, Cluster, Repository};

/// The exit status of a restore_command that could not find out whether the file exists: above 125, so that the server
/// ends instead of taking writes with part of the log missing.
pub const FATAL_EXIT: u8 = 200;

/// How much of a segment is looked at in one go: whole pages, whatever their size.
const PIECE_BYTES: usize = 1 << 20;

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

/// The name of a spool beside the log.
const BESIDE: &str = ".fetched-ahead";
/// How much of the log is fetched ahead at most, whatever the size of a segment.
const AHEAD_BYTES: usize = 256 << 20;

impl FetchConfig {
    /// With a spool beside `destination`, which is %p: in the server's own `pg_wal`, so that what was fetched ahead need only
    /// be renamed. It is gone as soon as the repository has no more.
    ///
    /// ```
    /// use db_backup::wal::FetchConfig;
    ///
    /// let config = FetchConfig::beside("pg_wal/RECOVERYXLOG".as_ref());
    /// assert!(config.spool.is_some_and(|spool| spool.starts_with("pg_wal")));
    /// ```
    pub fn beside(destination: &Path) -> Self {
        FetchConfig { spool: Some(directory_of(destination).join(BESIDE)), ..FetchConfig::default() }
    }
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

/// Puts the file `name` to `destination` where an earlier call has fetched it ahead; whether it had. It needs no repository, so
/// ask it before one is opened.
///
/// # Errors
/// As [`fetch`].
pub fn fetched_before(name: &str, destination: &Path, config: &FetchConfig) -> Result<bool, PhysicalError> {
    let name: WalName = name.parse().map_err(|_| WalError::Name(name.to_owned()))?;
    let Some((segment, spool)) = name.segment().zip(config.spool.as_deref()) else { return Ok(false) };
    // Whoever asks for the first time may have no keys yet: `fetch` says what is missing, in its order.
    if !spool.join(segment.to_string()).exists() {
        return Ok(false);
    }
    take_ahead(spool, segment, system_of(data_directory_of(destination))?, destination)
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
    let buffers = Arc::default();
    let fetched = one(&cluster, name, destination, config, &buffers).await?;
    if let (Fetched::NotThere, Some(spool)) = (fetched, config.spool.as_deref()) {
        clear(spool);
    }
    Ok(fetched)
}

async fn one(
    cluster: &Cluster,
    name: WalName,
    destination: &Path,
    config: &FetchConfig,
    buffers: &Arc<LogBuffers>,
) -> Result<Fetched, PhysicalError> {
    let ahead = name.segment().zip(config.spool.as_deref());
    if let Some((segment, spool)) = ahead
        && take_ahead(spool, segment, cluster.system_identifier(), destination)?
    {
        return Ok(Fetched::Restored);
    }
    let Some(bytes) = get(cluster, name, destination, buffers).await? else {
        return received(cluster, name, destination).await;
    };
    if let (Some((segment, spool)), Ok(size)) = (ahead, u32::try_from(bytes)) {
        fetch_ahead(cluster, segment, size, spool, config, buffers).await;
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

/// Gets a file to its destination and checks that it is the one; how many bytes it has. `None` where it is not there.
async fn get(
    cluster: &Cluster,
    name: WalName,
    destination: &Path,
    buffers: &Arc<LogBuffers>,
) -> Result<Option<u64>, PhysicalError> {
    if let WalName::History(timeline) = name {
        let Some(content) = cluster.get_wal(name).await? else { return Ok(None) };
        History::parse(timeline, &String::from_utf8_lossy(&content))?;
        write(destination, &content)?;
        return Ok(Some(content.len() as u64));
    }
    let unfinished = unfinished(destination);
    let (path, segment) = (unfinished.clone(), name.segment());
    let fresh = move || Arriving {
        path: path.clone(),
        file: None,
        check: segment.map(Check::new),
        torn: None,
        bytes: 0,
    };
    let got = cluster.read_wal(name, buffers, fresh, |arriving, _, piece| arriving.add(piece)).await;
    let finished = match got {
        Ok(None) => return Ok(None),
        Ok(Some(arriving)) => arriving.finish(destination).map(Some),
        Err(error) => Err(error.into()),
    };
    if finished.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    finished
}

/// A file that arrives piece by piece.
struct Arriving {
    path: PathBuf,
    file: Option<File>,
    check: Option<Check>,
    /// What is wrong with its pages.
    torn: Option<WalError>,
    bytes: u64,
}

impl Arriving {
    fn add(&mut self, piece: &[u8]) -> Result<(), BackupError> {
        if let Some(check) = self.check.as_mut().filter(|_| self.torn.is_none()) {
            self.torn = check.look(piece).err();
        }
        self.bytes += piece.len() as u64;
        let path = &self.path;
        let written = match &mut self.file {
            Some(file) => file.write_all(piece),
            none => File::create(path).and_then(|file| none.insert(file).write_all(piece)),
        };
        written.map_err(|source| unwritten(path, source))
    }

    /// It appears at once, whole and for good.
    fn finish(self, destination: &Path) -> Result<u64, PhysicalError> {
        if let Some(torn) = self.torn {
            return Err(torn.into());
        }
        let synced = self.file.map_or(Ok(()), |file| file.sync_all());
        let placed = synced.and_then(|()| place(&self.path, destination));
        placed.map_err(|source| unwritten(destination, source))?;
        Ok(self.bytes)
    }
}

/// Fetches the segments behind this one into the spool. What fails here is asked for again, and then told.
async fn fetch_ahead(
    cluster: &Cluster,
    segment: Segment,
    size: u32,
    spool: &Path,
    config: &FetchConfig,
    buffers: &Arc<LogBuffers>,
) {
    if fs::create_dir_all(spool).is_err() {
        return;
    }
    let mut tasks = JoinSet::new();
    let most = (AHEAD_BYTES / (size as usize).max(1)).max(1);
    let (mut next, mut left) = (segment.next(size), config.ahead.min(most));
    loop {
        while left > 0 && tasks.len() < config.workers.max(1) {
            let (cluster, path, wanted) = (cluster.clone(), spool.join(next.to_string()), next);
            (next, left) = (next.next(size), left - 1);
            if path.exists() {
                continue;
            }
            let buffers = Arc::clone(buffers);
            tasks.spawn(async move {
                matches!(get(&cluster, WalName::Segment(wanted), &path, &buffers).await, Ok(Some(_)))
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

/// Puts a segment that was fetched ahead to its destination, if it is whole; whether it is there.
fn take_ahead(
    spool: &Path,
    segment: Segment,
    system: u64,
    destination: &Path,
) -> Result<bool, PhysicalError> {
    forget_before(spool, segment);
    let path = spool.join(segment.to_string());
    let Ok(mut file) = File::open(&path) else { return Ok(false) };
    if !is_whole(&mut file, segment, system) {
        return Ok(false);
    }
    // It is on the disk already, so that it need not be written once more.
    if place(&path, destination).is_ok() {
        return Ok(true);
    }
    // The spool is on another file system.
    copy(&mut file, destination).map_err(|source| unwritten(destination, source))?;
    let _ = fs::remove_file(path);
    Ok(true)
}

/// Whether a file that was fetched ahead is this segment of this cluster, all of it.
fn is_whole(file: &mut File, segment: Segment, system: u64) -> bool {
    let Ok(bytes) = file.metadata().map(|about| about.len()) else { return false };
    let (mut piece, mut check, mut left) = (vec![0; PIECE_BYTES], Check::new(segment), bytes);
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        if file.read_exact(&mut piece[..now]).is_err() {
            return false;
        }
        let unfit = left == bytes && SegmentHeader::unfit_beginning(segment, system, &piece, bytes).is_some();
        if unfit || check.look(&piece[..now]).is_err() {
            return false;
        }
        left -= now as u64;
    }
    bytes > 0
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

/// Removes what was fetched ahead: nothing more is asked for.
fn clear(spool: &Path) {
    let Ok(entries) = fs::read_dir(spool) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.starts_with(UNFINISHED) || name.parse::<WalName>().is_ok_and(|name| name.segment().is_some())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    if spool.file_name().is_some_and(|name| name == BESIDE) {
        let _ = fs::remove_dir(spool);
    }
}

/// How the names of files begin that are being written.
const UNFINISHED: &str = ".unfinished-";

/// Writes a file so that it appears at once, whole and for good.
fn write(destination: &Path, content: &[u8]) -> Result<(), PhysicalError> {
    let unfinished = unfinished(destination);
    let written = (|| {
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        place(&unfinished, destination)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    Ok(written.map_err(|source| unwritten(destination, source))?)
}

/// Copies a file from its beginning so that it appears at once, whole and for good.
fn copy(from: &mut File, destination: &Path) -> io::Result<()> {
    let unfinished = unfinished(destination);
    let copied = (|| {
        from.rewind()?;
        let mut file = File::create(&unfinished)?;
        io::copy(from, &mut file)?;
        file.sync_all()?;
        place(&unfinished, destination)
    })();
    if copied.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    copied
}

/// Where a file is until it is whole.
fn unfinished(destination: &Path) -> PathBuf {
    let name = destination.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    directory_of(destination).join(format!("{UNFINISHED}{name}-{}", std::process::id()))
}

/// Puts what is on the disk in its place.
fn place(unfinished: &Path, destination: &Path) -> io::Result<()> {
    fs::rename(unfinished, destination)?;
    File::open(directory_of(destination))?.sync_all()
}

fn directory_of(destination: &Path) -> &Path {
    destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritten(path: &Path, source: io::Error) -> BackupError {
    BackupError::io(format!("cannot write {}", path.display()), source)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::wal::pages::tests::whole;

    #[test]
    fn what_was_fetched_ahead_is_renamed_into_its_place_and_only_if_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let (destination, spool) = (home.path().join("RECOVERYXLOG"), home.path().join(BESIDE));
        let (segment, content) = whole();
        let path = spool.join(segment.to_string());
        let take = |system| take_ahead(&spool, segment, system, &destination).unwrap();
        assert!(!take(0), "nothing is there");
        fs::create_dir(&spool).unwrap();
        for spoilt in [
            content[..content.len() / 2].to_vec(),
            [&content[..8192], &content[..content.len() - 8192]].concat(),
        ] {
            fs::write(&path, spoilt).unwrap();
            assert!(!take(0) && !destination.exists(), "it is not whole");
        }
        fs::write(&path, &content).unwrap();
        assert!(!take(1) && !destination.exists(), "it is another cluster's");
        let number = fs::metadata(&path).unwrap().ino();
        assert!(take(0) && !path.exists());
        assert_eq!(fs::metadata(&destination).unwrap().ino(), number, "it was written once more");
        assert_eq!(fs::read(&destination).unwrap(), content);
    }

    #[test]
    fn a_spool_beside_the_log_goes_with_what_is_in_it() {
        let home = tempfile::tempdir().unwrap();
        let spool = FetchConfig::beside(&home.path().join("RECOVERYXLOG")).spool.unwrap();
        fs::create_dir(&spool).unwrap();
        for name in ["000000010000000000000003", ".unfinished-000000010000000000000004-7"] {
            fs::write(spool.join(name), "").unwrap();
        }
        clear(&spool);
        assert!(!spool.exists());
    }
}
