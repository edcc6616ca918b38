//! Where a rehearsal lives, and how what a dead one left is found and removed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use db_server::process::{Signal, Stamp};

use crate::physical_error::PhysicalError;
use crate::restore::server_on;
use crate::wal::end_beside_log_of;

/// How its name begins; the pid and the start of the process that it belongs to follow.
const PREFIX: &str = "db-backup-rehearsal-";

/// The longest that a server of a dead rehearsal takes to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// A directory that goes with its value, or with the next rehearsal.
#[derive(Debug)]
pub(super) struct Home {
    directory: PathBuf,
}

impl Home {
    pub(super) fn below(parent: &Path) -> Result<Home, PhysicalError> {
        fs::create_dir_all(parent).map_err(PhysicalError::at("create", parent))?;
        let parent = parent.canonicalize().map_err(PhysicalError::at("resolve", parent))?;
        sweep(&parent);
        let own = Stamp::of(std::process::id()).map_or(0, |stamp| stamp.started);
        let name = format!("{PREFIX}{}-{own}-{:08x}", std::process::id(), rand::random::<u32>());
        let directory = parent.join(name);
        let made = fs::create_dir(&directory)
            // The server's account passes through; what is below is its own.
            .and_then(|()| fs::set_permissions(&directory, Permissions::from_mode(0o711)));
        made.map_err(PhysicalError::at("create", &directory))?;
        Ok(Home { directory })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A new directory for the socket, the settings and the log.
    pub(super) fn server(&self) -> Result<PathBuf, PhysicalError> {
        let path = self.directory.join("s");
        fs::create_dir(&path).map_err(PhysicalError::at("create", &path))?;
        Ok(path)
    }

    /// Where dumps lie while they are restored; made by whoever needs it.
    pub(super) fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    pub(super) fn tablespace(&self, oid: u32) -> PathBuf {
        self.directory.join(format!("tablespace-{oid}"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A server that ended before its target has told nobody.
        end_beside_log_of(&self.data());
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            let directory = self.directory.display().to_string();
            tracing::warn!(directory, %error, "a rehearsal's directory could not be removed; the next rehearsal tries again");
        }
    }
}

/// Ends the servers and removes the directories of rehearsals whose process is gone.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner) else { continue };
        if owner.is_alive() {
            continue;
        }
        if let Some(server) = server_on(&entry.path().join("data")).and_then(Stamp::of) {
            server.signal(Signal::Quit);
            if !server.wait_gone(ENDS_WITHIN) {
                for child in server.children() {
                    child.signal(Signal::Kill);
                }
                server.signal(Signal::Kill);
            }
        }
        if fs::remove_dir_all(entry.path()).is_ok() {
            tracing::info!(directory = %entry.path().display(), "what a dead rehearsal had left is removed");
        }
    }
}

/// The process to which a directory of this name belongs.
fn owner(name: &str) -> Option<Stamp> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    Some(Stamp { pid: parts.next()?.parse().ok()?, started: parts.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_rehearsal_left_goes_and_what_a_living_one_has_stays() {
        let parent = tempfile::tempdir().unwrap();
        let living = Home::below(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}{}-1-00000000", std::process::id()));
        let other = parent.path().join("something-else");
        for directory in [&dead, &other] {
            fs::create_dir(directory).unwrap();
        }
        let next = Home::below(parent.path()).unwrap();
        assert!(living.directory.exists() && next.directory.exists() && other.exists() && !dead.exists());
        drop((living, next));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
