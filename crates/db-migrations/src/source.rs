//! Reads migrations from a directory in diesel's layout: `VERSION_NAME/{up.sql,down.sql,metadata.toml}`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::MigrationError;

/// A migration's version: the directory's name up to the first `_`, without dashes, as diesel stores it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(String);

impl Version {
    pub(crate) fn from_stored(text: String) -> Self {
        Version(text)
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
    /// The directory.
    pub path: PathBuf,
    /// The SQL that applies it.
    pub up: String,
    /// The SQL that undoes it, where there is one.
    pub down: Option<String>,
    /// Whether it runs in a transaction. One that does not must be a single statement.
    pub run_in_transaction: bool,
}

impl Migration {
    pub(crate) fn file(&self, direction: &str) -> PathBuf {
        self.path.join(direction)
    }
}

/// All migrations of a directory, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    all: Vec<Migration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    run_in_transaction: bool,
}

impl Migrations {
    /// Reads a directory. Hidden entries and files beside the migrations' directories are passed over.
    ///
    /// # Errors
    /// [`MigrationError::Read`], [`MigrationError::Name`], [`MigrationError::DuplicateVersion`] or
    /// [`MigrationError::Metadata`].
    pub fn read(directory: &Path) -> Result<Self, MigrationError> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
            let path = entry.map_err(unreadable(directory))?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden {
                all.push(read_one(path)?);
            }
        }
        all.sort_by(|a, b| a.version.cmp(&b.version));
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
        Ok(Migrations { all })
    }

    /// The migrations in the order of their versions.
    pub fn iter(&self) -> std::slice::Iter<'_, Migration> {
        self.all.iter()
    }

    /// A migration by its version.
    pub fn get(&self, version: &Version) -> Option<&Migration> {
        self.all.iter().find(|migration| migration.version == *version)
    }

    /// A hash of everything that applying them does: the same hash, the same schema.
    pub fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        for migration in &self.all {
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
    let directory = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (version, name) = match directory.split_once('_') {
        Some((version, name)) => (version.replace('-', ""), name.to_owned()),
        None => (directory.replace('-', ""), String::new()),
    };
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MigrationError::Name { path });
    }
    let up_file = path.join("up.sql");
    let up = fs::read_to_string(&up_file).map_err(unreadable(&up_file))?;
    let down_file = path.join("down.sql");
    let down = if down_file.exists() {
        Some(fs::read_to_string(&down_file).map_err(unreadable(&down_file))?)
    } else {
        None
    };
    let run_in_transaction = read_metadata(&path.join("metadata.toml"))?;
    Ok(Migration { version: Version(version), name, path, up, down, run_in_transaction })
}

fn read_metadata(file: &Path) -> Result<bool, MigrationError> {
    if !file.exists() {
        return Ok(true);
    }
    let text = fs::read_to_string(file).map_err(unreadable(file))?;
    toml::from_str::<Metadata>(&text).map(|metadata| metadata.run_in_transaction).map_err(|error| {
        MigrationError::Metadata { path: file.to_owned(), reason: error.message().to_owned() }
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
    fn the_hash_follows_the_content() {
        let one = Migrations::read(directory(&[("1_a/up.sql", "SELECT 1")]).path()).unwrap();
        let same =
            Migrations::read(directory(&[("1_a/up.sql", "SELECT 1"), ("1_a/down.sql", "")]).path()).unwrap();
        let other = Migrations::read(directory(&[("1_a/up.sql", "SELECT 2")]).path()).unwrap();
        assert_eq!(one.content_hash(), same.content_hash());
        assert_ne!(one.content_hash(), other.content_hash());
    }
}
