//! Reads migrations from a directory in diesel's layout: `VERSION_NAME/{up.sql,down.sql,metadata.toml}`.
//!
//! Beside the directories may stand files `R__NAME.sql`: repeatable migrations, which diesel passes over.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::MigrationError;
use crate::layout::recognise;
use crate::segments::checksum;

/// How the name of a repeatable migration's file begins.
pub(crate) const REPEATABLE: &str = "R__";

/// A migration's version: the directory's name up to the first `_`, without dashes, as diesel stores it.
///
/// They are in the order of their texts, as in diesel: 10 is before 2, which the runner warns of. A
/// repeatable migration has none: its file's name without `.sql` stands for it, and comes after all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(String);

impl Version {
    /// The version that is written like this, with or without dashes.
    ///
    /// ```
    /// use db_migrations::Version;
    /// assert_eq!(Version::of("2026-11-02-090000").as_str(), "20261102090000");
    /// ```
    pub fn of(text: &str) -> Self {
        Version(text.replace('-', ""))
    }

    /// The version that is stored like this.
    pub(crate) fn from_stored(text: String) -> Self {
        Version(text)
    }

    /// Whether it stands for a repeatable migration.
    pub fn is_repeatable(&self) -> bool {
        self.0.starts_with(REPEATABLE)
    }

    /// The version with a migration's name, as people know it: `20261102090000_create_users`, or `R__views`.
    pub fn with_name(&self, name: &str) -> String {
        if name.is_empty() || self.is_repeatable() { self.0.clone() } else { format!("{}_{name}", self.0) }
    }

    /// The version as diesel stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// Its place in the order.
    pub version: Version,
    /// The directory's name behind the version.
    pub name: String,
    /// The directory; of a repeatable migration, the file.
    pub path: PathBuf,
    /// The SQL that applies it.
    pub up: String,
    /// The SQL that undoes it, where there is one.
    pub down: Option<String>,
    /// Whether what can run in one transaction does; else each statement commits by itself.
    pub run_in_transaction: bool,
    /// A hash of the statements that apply it: comments between them and line ends do not count.
    pub checksum: String,
}

impl Migration {
    /// The file that applies it.
    pub fn up_file(&self) -> PathBuf {
        if self.version.is_repeatable() { self.path.clone() } else { self.path.join("up.sql") }
    }

    /// The file that undoes it.
    pub fn down_file(&self) -> PathBuf {
        self.path.join("down.sql")
    }

    /// Version and name, as people know it.
    pub fn label(&self) -> String {
        self.version.with_name(&self.name)
    }
}

/// All migrations of a directory, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    pub(crate) all: Vec<Migration>,
    pub(crate) repeatable: Vec<Migration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    run_in_transaction: bool,
}

impl Migrations {
    /// Reads a directory. Hidden entries and files beside the migrations' directories are passed over, but
    /// for those that are migrations of another tool.
    ///
    /// # Errors
    /// [`MigrationError::Read`], [`MigrationError::Name`], [`MigrationError::DuplicateVersion`],
    /// [`MigrationError::OtherLayout`] or [`MigrationError::Metadata`].
    pub fn read(directory: &Path) -> Result<Self, MigrationError> {
        let (mut all, mut repeatable) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
            let path = entry.map_err(unreadable(directory))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') {
                all.push(read_one(path)?);
            } else if let Some(name) = name.strip_suffix(".sql").filter(|name| name.starts_with(REPEATABLE)) {
                let up = read_text(&path).map_err(unreadable(&path))?;
                repeatable.push(repeat(name, path, up));
            } else if let Some(text) = text_of_sql(&path, &name)? {
                refuse_foreign(path, &name, &text)?;
            }
        }
        Migrations::of(all, repeatable)
    }

    /// The migrations of any order, in order.
    pub(crate) fn of(
        mut all: Vec<Migration>,
        mut repeatable: Vec<Migration>,
    ) -> Result<Self, MigrationError> {
        all.sort_by(|a, b| a.version.cmp(&b.version));
        repeatable.sort_by(|a, b| a.version.cmp(&b.version));
        for pair in all.windows(2) {
            if let [first, second] = pair
                && first.version == second.version
            {
                return Err(MigrationError::DuplicateVersion {
                    version: first.version.clone(),
                    first: first.path.clone(),
                    second: second.path.clone(),
                });
            }
        }
        Ok(Migrations { all, repeatable })
    }

    /// The repeatable migrations, in the order of their names: they run after the others, whenever they
    /// changed.
    pub fn repeatable(&self) -> &[Migration] {
        &self.repeatable
    }

    /// The migrations in the order of their versions.
    pub fn iter(&self) -> std::slice::Iter<'_, Migration> {
        self.all.iter()
    }

    /// A migration by its version.
    pub fn get(&self, version: &Version) -> Option<&Migration> {
        self.all.iter().chain(&self.repeatable).find(|migration| migration.version == *version)
    }

    /// A hash of everything that applying them does: the same hash, the same schema.
    pub fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        for migration in self.all.iter().chain(&self.repeatable) {
            hash.update(migration.version.as_str());
            hash.update([0, u8::from(migration.run_in_transaction)]);
            hash.update(&migration.up);
            hash.update([0]);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<'a> IntoIterator for &'a Migrations {
    type Item = &'a Migration;
    type IntoIter = std::slice::Iter<'a, Migration>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn read_one(path: PathBuf) -> Result<Migration, MigrationError> {
    let up_file = path.join("up.sql");
    let down_file = path.join("down.sql");
    let up = read_text(&up_file).map_err(unreadable(&up_file))?;
    let down = read_if_there(&down_file)?;
    let metadata = read_if_there(&path.join("metadata.toml"))?;
    one(path, up, down, metadata.as_deref())
}

/// A migration from its texts.
pub(crate) fn one(
    path: PathBuf,
    up: String,
    down: Option<String>,
    metadata: Option<&str>,
) -> Result<Migration, MigrationError> {
    let directory = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (version, name) = directory.split_once('_').unwrap_or((&directory, ""));
    let version = version.replace('-', "");
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MigrationError::Name { path });
    }
    let metadata = match metadata.map(toml::from_str::<Metadata>) {
        None => Metadata { run_in_transaction: true },
        Some(Ok(metadata)) => metadata,
        Some(Err(error)) => {
            let reason = error.message().to_owned();
            return Err(MigrationError::Metadata { path: path.join("metadata.toml"), reason });
        }
    };
    let (up, down) = (without_mark(up), down.map(without_mark));
    let (name, checksum) = (name.to_owned(), checksum(&up));
    let run_in_transaction = metadata.run_in_transaction;
    Ok(Migration { version: Version(version), name, path, up, down, run_in_transaction, checksum })
}

/// A repeatable migration from its text; `name` is the file's without `.sql`.
pub(crate) fn repeat(name: &str, path: PathBuf, up: String) -> Migration {
    let up = without_mark(up);
    let (version, checksum) = (Version(name.to_owned()), checksum(&up));
    let name = name.trim_start_matches(REPEATABLE).to_owned();
    Migration { version, name, path, up, down: None, run_in_transaction: true, checksum }
}

/// A text without a byte-order mark: the server takes it for a part of the first word.
pub(crate) fn without_mark(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

fn text_of_sql(path: &Path, name: &str) -> Result<Option<String>, MigrationError> {
    if name.starts_with('.') || !name.ends_with(".sql") { Ok(None) } else { read_if_there(path) }
}

/// Refuses a file that is a migration of another tool.
pub(crate) fn refuse_foreign(file: PathBuf, name: &str, text: &str) -> Result<(), MigrationError> {
    match recognise(name, text) {
        None => Ok(()),
        Some(foreign) => Err(MigrationError::OtherLayout { file, layout: foreign.layout }),
    }
}

fn read_if_there(file: &Path) -> Result<Option<String>, MigrationError> {
    match read_text(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(file)(error)),
    }
}

/// A file's text; what is no UTF-8 is said with its line.
fn read_text(file: &Path) -> std::io::Result<String> {
    String::from_utf8(fs::read(file)?).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let reason = format!("line {line} is not UTF-8: save the file in that encoding");
        std::io::Error::new(std::io::ErrorKind::InvalidData, reason)
    })
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> MigrationError {
    let path = path.to_owned();
    move |source| MigrationError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn diesels_layout_is_read_in_order() {
        let files = directory(&[
            ("2026-01-02-000000_second/up.sql", "SELECT 2"),
            ("2026-01-01-000000_first/up.sql", "SELECT 1"),
            ("2026-01-01-000000_first/down.sql", "SELECT -1"),
            ("2026-01-02-000000_second/metadata.toml", "run_in_transaction = false"),
            (".hidden/note", ""),
            ("README.md", ""),
            ("R__views.sql", "CREATE OR REPLACE VIEW v AS SELECT 1"),
        ]);
        let migrations = Migrations::read(files.path()).unwrap();
        let seen: Vec<_> = migrations
            .iter()
            .map(|m| (m.version.as_str(), m.name.as_str(), m.down.is_some(), m.run_in_transaction))
            .collect();
        assert_eq!(
            seen,
            [("20260101000000", "first", true, true), ("20260102000000", "second", false, false)]
        );
        let repeatable: Vec<_> = migrations.repeatable().iter().map(Migration::label).collect();
        assert_eq!(repeatable, ["R__views"]);
    }

    #[track_caller]
    fn check_refused(files: &[(&str, &str)], expected: &str) {
        let files = directory(files);
        let error = Migrations::read(files.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_diesel_accepts_in_silence_is_refused() {
        let up = ("1_a/up.sql", "SELECT 1");
        check_refused(&[up, ("1_b/up.sql", "SELECT 2")], "both have version 1");
        check_refused(&[up, ("1_a/metadata.toml", "")], "missing field `run_in_transaction`");
        check_refused(&[up, ("1_a/metadata.toml", "run_in_transactoin = false")], "unknown field");
        check_refused(&[up, ("1_a/metadata.toml", "= =")], "metadata.toml");
        check_refused(&[("create_users/up.sql", "")], "is no migration");
        check_refused(&[("1_a/down.sql", "")], "cannot read");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let with = directory(&[("1_a/up.sql", "\u{feff}SELECT 1"), ("1_a/down.sql", "\u{feff}SELECT 2")]);
        let without = directory(&[("1_a/up.sql", "SELECT 1"), ("1_a/down.sql", "SELECT 2")]);
        let [with, without] = [with, without].map(|files| {
            let migrations = Migrations::read(files.path()).unwrap();
            migrations
                .iter()
                .map(|one| (one.up.clone(), one.down.clone(), one.checksum.clone()))
                .collect::<Vec<_>>()
        });
        assert_eq!(with, without);
    }

    #[test]
    fn migrations_of_other_tools_are_not_passed_over() {
        check_refused(&[("V1__init.sql", "")], "layout of Flyway");
        check_refused(&[("1_a/up.sql", ""), ("000002_b.up.sql", "")], "layout of golang-migrate");
        check_refused(&[("20240101_a.sql", "-- migrate:up")], "layout of dbmate");
        check_refused(&[("20240101_a.sql", "SELECT 1")], "dbctl migrate import");
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_told_with_its_line() {
        let files = directory(&[("1_a/up.sql", "SELECT 1")]);
        fs::write(files.path().join("1_a/up.sql"), b"SELECT 1;\nSELECT '\xe9t\xe9'").unwrap();
        let told = Migrations::read(files.path()).unwrap_err().to_string();
        assert!(told.contains("line 2 is not UTF-8"), "{told}");
    }

    #[test]
    fn the_hash_follows_the_content() {
        let one = Migrations::read(directory(&[("1_a/up.sql", "SELECT 1")]).path()).unwrap();
        let same =
            Migrations::read(directory(&[("1_a/up.sql", "SELECT 1"), ("1_a/down.sql", "")]).path()).unwrap();
        let other = Migrations::read(directory(&[("1_a/up.sql", "SELECT 2")]).path()).unwrap();
        assert_eq!(one.content_hash(), same.content_hash());
        assert_ne!(one.content_hash(), other.content_hash());
    }
}
