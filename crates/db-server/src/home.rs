//! The directory in which a cluster lives, and who removes it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::guardian::Guardian;
use crate::process::Stamp;
use crate::{Account, Error, Result};

/// A directory under a guardian's eye.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    guardian: Guardian,
    /// The data outlive this value (but not, until it is detached, the servers).
    keep: AtomicBool,
    detached: AtomicBool,
}

impl Home {
    /// A new directory that goes away with this value, or with this process.
    pub(crate) fn throw_away(account: Option<&Account>, medium: Medium) -> Result<Home> {
        let parent = parent(medium);
        let dir = tempfile::Builder::new()
            .prefix("dbp-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&parent);
        let dir = dir.map_err(Error::io("create a directory in", &parent))?;
        // From here on the guardian removes it: between the two calls is the one moment at which it could be
        // left.
        let guardian = Guardian::watch(dir.path())?;
        let dir = dir.keep();
        let dir = dir.canonicalize().map_err(Error::io("resolve", &dir))?;
        let home = Home { dir, guardian, keep: AtomicBool::new(false), detached: AtomicBool::new(false) };
        give(&home.dir, account)?;
        Ok(home)
    }

    /// A directory that stays: if it is new, it goes away unless it is detached; if not, its data are kept.
    pub(crate) fn staying(dir: &Path, account: Option<&Account>) -> Result<Home> {
        let new = !dir.exists();
        if new {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .map_err(Error::io("create", dir))?;
        }
        let guardian = if new { Guardian::watch(dir)? } else { Guardian::watch_and_keep(dir)? };
        let dir = dir.canonicalize().map_err(Error::io("resolve", dir))?;
        give(&dir, account)?;
        Ok(Home { dir, guardian, keep: AtomicBool::new(!new), detached: AtomicBool::new(false) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lets the servers and the directory outlive this process.
    pub(crate) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
        self.keep.store(true, Ordering::Relaxed);
        self.guardian.release();
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    /// Ends another process with this one.
    pub(crate) fn also(&self, stamp: Stamp) {
        self.guardian.also(stamp);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.is_detached() {
            return;
        }
        // A server that would not end, or a directory that would not go, is left to the guardian.
        if self.keep.load(Ordering::Relaxed) || fs::remove_dir_all(&self.dir).is_ok() {
            self.guardian.release();
        } else {
            self.guardian.finish();
        }
    }
}

fn give(dir: &Path, account: Option<&Account>) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(Error::io("set the mode of", dir))?;
    match account {
        Some(account) => account.own(dir),
        None => Ok(()),
    }
}

/// What a directory that is thrown away should lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    /// Memory where there is plenty: making a database makes hundreds of files, and each costs a disk a
    /// millisecond.
    Fast,
    /// A disk, for whoever measures one.
    Disk,
}

/// TMPDIR where it is set, else memory where that is asked for and roomy, else /tmp.
fn parent(medium: Medium) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if medium == Medium::Fast && std::env::var_os("TMPDIR").is_none() && has_room(&memory) {
        return memory;
    }
    let parent = std::env::temp_dir();
    // Short, so that a Unix socket's path below it fits in the kernel's 108 bytes.
    if parent.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { parent }
}

fn has_room(dir: &Path) -> bool {
    const ENOUGH_BYTES: u64 = 4 << 30;
    let free = rustix::fs::statvfs(dir).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    free >= ENOUGH_BYTES && tempfile::tempfile_in(dir).is_ok()
}
