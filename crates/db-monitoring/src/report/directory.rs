//! The directory that reports are written into: whole files only, and no more of them than are kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::Report;
use crate::panel::stamp;

/// A larger file is no report of ours, in bytes.
const LARGEST: u64 = 256 << 20;
/// Written first, and renamed when it is whole.
const UNFINISHED: &str = ".unfinished";

/// How often a kind of report is made; each kind is compared with the one before of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// The checks of an hour.
    Hourly,
    /// A day.
    Daily,
    /// A week.
    Weekly,
}

impl Period {
    /// Its word, with which the names of its files begin.
    pub fn word(self) -> &'static str {
        match self {
            Period::Hourly => "hourly",
            Period::Daily => "daily",
            Period::Weekly => "weekly",
        }
    }
}

/// How many reports of each kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Of the hourly ones.
    pub hourly: usize,
    /// Of the daily ones.
    pub daily: usize,
    /// Of the weekly ones.
    pub weekly: usize,
}

impl Default for Kept {
    /// Two days of hours, a month of days, a year of weeks.
    fn default() -> Self {
        Kept { hourly: 48, daily: 31, weekly: 53 }
    }
}

impl Kept {
    fn of(self, period: Period) -> usize {
        match period {
            Period::Hourly => self.hourly,
            Period::Daily => self.daily,
            Period::Weekly => self.weekly,
        }
        .max(1)
    }
}

/// A directory of reports. Files that are not its own stay as they are.
///
/// ```no_run
/// use db_monitoring::report::{Kept, Period, Report, ReportDirectory};
/// # fn example(report: Report) -> std::io::Result<()> {
/// let directory = ReportDirectory::new("/var/lib/reports", Kept::default());
/// let files = directory.write(report, Period::Daily)?; // compared with yesterday's, in HTML and JSON
/// # let _ = files;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ReportDirectory {
    path: PathBuf,
    kept: Kept,
}

impl ReportDirectory {
    /// A directory, which is made where it is not there.
    pub fn new(path: impl Into<PathBuf>, kept: Kept) -> Self {
        ReportDirectory { path: path.into(), kept }
    }

    /// Writes a report, compared with the one before of its kind, as HTML and JSON; then removes those that
    /// are too many.
    ///
    /// # Errors
    /// The directory cannot be written. No half of a report is left under its name.
    pub fn write(&self, report: Report, period: Period) -> io::Result<Vec<PathBuf>> {
        fs::create_dir_all(&self.path)?;
        let report = match self.newest(period) {
            Some(previous) => report.compared_with(&previous),
            None => report,
        };
        // A colon is no part of a file's name everywhere.
        let name = format!("{}-{}", period.word(), stamp(report.at()).replace(':', "-"));
        let mut written = Vec::new();
        // The JSON last: it is what the next one is compared with.
        for (end, content) in [("html", report.to_html()), ("json", report.to_json().to_string())] {
            let path = self.path.join(format!("{name}.{end}"));
            write_whole(&path, &content)?;
            written.push(path);
        }
        self.tidy(period)?;
        Ok(written)
    }

    /// The newest report of a kind that can be read.
    pub fn newest(&self, period: Period) -> Option<Json> {
        let names = self.names(period, "json").ok()?;
        names.iter().rev().find_map(|path| {
            let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= LARGEST);
            is_small.then(|| serde_json::from_slice(&fs::read(path).ok()?).ok()).flatten()
        })
    }

    fn tidy(&self, period: Period) -> io::Result<()> {
        for end in ["html", "json"] {
            let names = self.names(period, end)?;
            let surplus = names.len().saturating_sub(self.kept.of(period));
            for path in &names[..surplus] {
                remove(path)?;
            }
        }
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(name) = name.strip_suffix(UNFINISHED)
                && is_of(name, period, "html").max(is_of(name, period, "json"))
            {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The files of a kind, the oldest first: their names sort by time.
    fn names(&self, period: Period, end: &str) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| is_of(name, period, end)) {
                names.push(entry.path());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Whether a file is a report of ours: by the whole of its name.
fn is_of(name: &str, period: Period, end: &str) -> bool {
    let stamp = name
        .strip_prefix(period.word())
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(end))
        .and_then(|rest| rest.strip_suffix('.'));
    stamp.is_some_and(|stamp| {
        stamp.len() == 20
            && stamp.bytes().zip(b"0000-00-00T00-00-00Z").all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                like => byte == *like,
            })
    })
}

/// Only the owner may read it: statements and names are nobody else's business.
fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    let unfinished = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
    let mut file = open(&unfinished)?;
    let written = file.write_all(content.as_bytes()).and_then(|()| file.sync_all());
    let done = written.and_then(|()| fs::rename(&unfinished, path));
    if done.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    done
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Somebody else may have removed it: two agents can share a directory.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_ours_are_ours() {
        for (name, ours) in [
            ("daily-2026-11-28T18-00-00Z.json", true),
            ("daily-2026-11-28T18-00-00Z.html", false),
            ("weekly-2026-11-28T18-00-00Z.json", false),
            ("daily-notes.json", false),
            ("daily-2026-11-28T18-00-00Z-copy.json", false),
            ("my-daily-2026-11-28T18-00-00Z.json", false),
            ("daily-2026-11-28T18:00:00Z.json", false),
        ] {
            assert_eq!(is_of(name, Period::Daily, "json"), ours, "{name}");
        }
    }
}
