//! Installs a Debian package on demand, where this process may.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::{Error, Result, process};

/// Says which Debian this is; only there is it.
const DEBIAN: &str = "/etc/debian_version";

/// Finds something, or installs the package that brings it when this process is root on a Debian.
pub(crate) fn find_or_install<T>(
    package: &str,
    find: impl Fn() -> Result<T>,
    progress: &dyn Fn(&str),
) -> Result<T> {
    let missing = match find() {
        Ok(found) => return Ok(found),
        Err(missing) => missing,
    };
    let Some(debian) = File::open(DEBIAN).ok().filter(|_| rustix::process::geteuid().is_root()) else {
        return Err(missing);
    };
    // Of many tests that miss it at once one installs it, and the others wait. Closing the file unlocks it.
    debian.lock().map_err(Error::io("lock", Path::new(DEBIAN)))?;
    if let Ok(found) = find() {
        return Ok(found);
    }
    progress(&format!("installing {package} with apt-get"));
    run(&["update", "-qq"])?;
    run(&["install", "-y", "-qq", "--no-install-recommends", package])?;
    find()
}

fn run(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    // RUNLEVEL=1 makes the package's script leave the system's own service stopped.
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    process::run(&mut command).map(drop)
}
