//! restore_command: gets a file of the log out of the repository, or takes it from what was fetched ahead.
//!
//! The case people get wrong is the exit status. A status from 1 to 125 tells the server that the file does
//! not exist: it ends its recovery there and takes writes. So that is said only where the repository says
//! it; all else is fatal.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::control::{data_directory_of, system_of};
use super::pages::Check;
use super::spool::{Asked, BESIDE, Spool};
use super::{History, WalError, tail};
use crate::buffers::LogBuffers;
use crate::physical_error::PhysicalError;
use crate::wal_name::WalName;
use crate::{BackupError, Cluster, Repository};

/// The exit status of a restore_command that could not find out whether the file exists: above 125, so that
/// the server ends instead of taking writes with part of the log missing.
pub const FATAL_EXIT: u8 = 200;

/// How often it is looked whether another process is done.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

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

impl FetchConfig {
    /// With a spool beside `destination`, which is %p: in the server's own `pg_wal`, so that what was
    /// fetched ahead need only be renamed. It is gone as soon as the repository has no more.
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

/// Puts the file `name` to `destination` where it was fetched ahead, or is being just now; whether it is
/// there. It needs no repository, so ask it before one is opened.
///
/// # Errors
/// As [`fetch`].
///
/// # Cancel safety
/// Safe: what was fetched ahead is at its destination, or still where it was.
pub async fn fetched_before(
    name: &str,
    destination: &Path,
    config: &FetchConfig,
) -> Result<bool, PhysicalError> {
    let name: WalName = name.parse().map_err(|_| WalError::Name(name.to_owned()))?;
    let Some((segment, directory)) = name.segment().zip(config.spool.as_deref()) else { return Ok(false) };
    let spool = Spool { directory };
    while !spool.has(segment) {
        // Whoever asks for the first time may have no keys yet: `fetch` says what is missing, in its order.
        if !spool.is_coming(segment) && !spool.has(segment) {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
    spool.take(segment, system_of(data_directory_of(destination))?, destination)
}

/// Fetches the file `name`, which the server gives as %f, to `destination`, %p.
///
/// The file appears at once and whole, and is on the disk when this returns. Segments behind it are not
/// fetched: see [`needs_refill`](super::needs_refill).
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
    let cluster = repository.cluster(system_of(data_directory_of(destination))?);
    let spool = config.spool.as_deref().map(|directory| Spool { directory });
    if let Some((spool, segment)) = spool.zip(name.segment()) {
        spool.ask_again(segment);
    }
    forget_left_over(destination);
    let Some(bytes) = get(&cluster, name, destination, &Arc::default()).await? else {
        let received = received(&cluster, name, destination).await?;
        if let (Fetched::NotThere, Some(spool)) = (received, spool) {
            spool.end();
        }
        return Ok(received);
    };
    if let (Some(spool), Some(segment), Ok(size)) = (spool, name.segment(), u32::try_from(bytes)) {
        spool.ask(Asked { segment, size });
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

/// Gets a file to its destination and checks that it is the one; how many bytes it has. `None` where it is
/// not there.
pub(super) async fn get(
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

/// Removes what earlier calls for this destination have left that were killed: the server makes one call at
/// a time.
fn forget_left_over(destination: &Path) {
    let Some(name) = destination.file_name().and_then(|name| name.to_str()) else { return };
    let begins = format!("{UNFINISHED}{name}-");
    for entry in fs::read_dir(directory_of(destination)).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&begins)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// How the names of files begin that are being written.
pub(super) const UNFINISHED: &str = ".unfinished-";

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
pub(super) fn copy(from: &mut File, destination: &Path) -> io::Result<()> {
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
pub(super) fn unfinished(destination: &Path) -> PathBuf {
    let name = destination.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    directory_of(destination).join(format!("{UNFINISHED}{name}-{}", std::process::id()))
}

/// Puts what is on the disk in its place.
pub(super) fn place(unfinished: &Path, destination: &Path) -> io::Result<()> {
    fs::rename(unfinished, destination)?;
    File::open(directory_of(destination))?.sync_all()
}

fn directory_of(destination: &Path) -> &Path {
    destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn unwritten(path: &Path, source: io::Error) -> BackupError {
    BackupError::io(format!("cannot write {}", path.display()), source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::pages::tests::whole;

    #[tokio::test]
    async fn a_call_waits_for_a_segment_that_is_under_way_and_no_longer() {
        let home = tempfile::tempdir().unwrap();
        let destination = home.path().join("pg_wal/RECOVERYXLOG");
        for directory in ["global", "pg_wal"] {
            fs::create_dir(home.path().join(directory)).unwrap();
        }
        fs::write(home.path().join("global/pg_control"), 0_u64.to_le_bytes()).unwrap();
        let (config, (segment, content)) = (FetchConfig::beside(&destination), whole());
        let (directory, name) = (config.spool.clone().unwrap(), segment.to_string());
        let spool = Spool { directory: &directory };
        let filling = spool.fill().unwrap().unwrap();
        assert!(!fetched_before(&name, &destination, &config).await.unwrap(), "it is not under way");

        spool.announce(segment).unwrap();
        let call = async || fetched_before(&name, &destination, &config).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), call()).await;
        assert!(early.is_err(), "it did not wait");
        let put = async || write(&spool.path_of(segment), &content).unwrap();
        let (taken, ()) = tokio::join!(call(), put());
        assert!(taken && fs::read(&destination).unwrap() == content);

        drop(filling);
        assert!(!call().await, "who fetched it is dead");
    }

    #[test]
    fn what_a_killed_call_left_goes_with_the_next() {
        let home = tempfile::tempdir().unwrap();
        let destination = home.path().join("RECOVERYXLOG");
        let left = home.path().join(".unfinished-RECOVERYXLOG-1");
        let others = home.path().join(".unfinished-RECOVERYHISTORY-1");
        for path in [&left, &others] {
            fs::write(path, "half").unwrap();
        }
        forget_left_over(&destination);
        assert!(!left.exists() && others.exists());
    }
}
