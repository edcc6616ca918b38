//! Cleans up even when this process is killed with no chance to do so itself.
//!
//! A guardian is a small shell in a process group of its own that waits on a pipe which only this process
//! holds. When this process ends, however it ends, the pipe closes, and the guardian ends the servers and
//! removes their directory. Process groups alone would not reach a server's backends: each of them calls
//! `setsid`.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::process::{self, Stamp};
use crate::{Error, Result};

const SCRIPT: &str = include_str!("guardian.sh");

/// Ends every server that this process started and removes their directories, then lets nothing more start.
///
/// This is for a Ctrl-C handler: it works at any moment, whatever the other threads are doing. Calls that are
/// under way in them end with [`Error::Interrupted`] or another error. A cluster that was made to stay is not
/// touched.
pub fn end_everything() {
    process::start_nothing_more();
    let all = std::mem::take(&mut *lock(&REGISTRY));
    // All pipes close first, so that the guardians work side by side.
    for watch in &all {
        lock(watch).pipe = None;
    }
    for watch in &all {
        let mut watch = lock(watch);
        watch.reap();
        // A thread of ours may have written a file while the guardian was removing the directory.
        if !watch.keep {
            drop(std::fs::remove_dir_all(&watch.dir));
        }
    }
}

/// Watches one directory on behalf of this process.
#[derive(Debug)]
pub(crate) struct Guardian {
    watch: Arc<Mutex<Watch>>,
}

#[derive(Debug)]
struct Watch {
    dir: PathBuf,
    keep: bool,
    child: Option<Child>,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Starts watching; the directory must exist, and everything in it is the guardian's to remove.
    pub(crate) fn watch(dir: &Path) -> Result<Guardian> {
        Guardian::start(dir, false)
    }

    /// Starts watching a directory whose servers must end with this process while its data stay.
    pub(crate) fn watch_and_keep(dir: &Path) -> Result<Guardian> {
        Guardian::start(dir, true)
    }

    fn start(dir: &Path, keep: bool) -> Result<Guardian> {
        let dir = dir.canonicalize().map_err(Error::io("resolve", dir))?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SCRIPT).arg("db-server-guardian").arg(&dir).arg(if keep {
            "keep"
        } else {
            "remove"
        });
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir("/").process_group(0);
        let mut child = process::spawn(&mut command)?;
        let pipe = child.stdin.take();
        let watch = Arc::new(Mutex::new(Watch { dir, keep, child: Some(child), pipe }));
        lock(&REGISTRY).push(Arc::clone(&watch));
        Ok(Guardian { watch })
    }

    /// Adds a process that must not outlive the owner either.
    pub(crate) fn also(&self, stamp: Stamp) {
        lock(&self.watch).tell(&format!("also {}:{}", stamp.pid, stamp.started));
    }

    /// Ends the watch and touches nothing.
    pub(crate) fn release(&self) {
        lock(&self.watch).tell("release");
        self.finish();
    }

    /// Lets the guardian do its work now and waits for it.
    pub(crate) fn finish(&self) {
        let mut watch = lock(&self.watch);
        watch.pipe = None;
        watch.reap();
        drop(watch);
        lock(&REGISTRY).retain(|other| !Arc::ptr_eq(other, &self.watch));
    }
}

impl Watch {
    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // A guardian that is gone has nothing left to guard.
            drop(writeln!(pipe, "{line}"));
        }
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.wait());
        }
    }
}

static REGISTRY: Mutex<Vec<Arc<Mutex<Watch>>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
