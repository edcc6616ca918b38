//! Opens a seed set: a directory with `seed.toml`, `prepare.sql`, `finish.sql` and numbered files, one for
//! each table.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::csv_file::CsvFile;
use crate::error::{Error, Place, Result};
use crate::keys;
use crate::model::Model;
use crate::spec::{self, TableSpec};

/// Raised when the generators give other rows for the same spec, so that a loaded set is known to be another
/// one.
const GENERATOR_VERSION: u32 = 1;

/// A seed set that has been read and checked, but not yet compared with a database.
#[derive(Debug)]
pub struct Seeds {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) default_seed: u64,
    pub(crate) checksum: String,
    /// The file and its text.
    pub(crate) prepare: Option<(PathBuf, String)>,
    /// The same of `finish.sql`, which runs behind the rows.
    pub(crate) finish: Option<(PathBuf, String)>,
    /// In the order in which they are loaded.
    pub(crate) files: Vec<SeedFile>,
    /// The generated tables among them, in the same order.
    pub(crate) generated: Vec<TableSpec>,
}

/// What fills one table.
#[derive(Debug)]
pub(crate) struct SeedFile {
    pub(crate) file: PathBuf,
    pub(crate) table: String,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Csv(CsvFile),
    /// The position in [`Seeds::generated`].
    Generated(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedToml {
    #[serde(default)]
    description: String,
    seed: u64,
    anchor: String,
}

impl Seeds {
    /// Reads the set `name` in the directory `dir`, and checks everything that can be checked without a
    /// database.
    ///
    /// Rows are not kept in memory: CSV files are read through once here, and again when they are loaded.
    pub fn open(dir: impl AsRef<Path>, name: &str) -> Result<Seeds> {
        let dir = dir.as_ref();
        let available = available(dir)?;
        if !available.iter().any(|known| known == name) {
            return Err(Error::UnknownSet { name: name.to_owned(), dir: dir.to_owned(), available });
        }
        let dir = dir.join(name);
        let mut checksum = Checksum::new();
        let SeedToml { description, seed, anchor } = {
            let file = dir.join("seed.toml");
            let source = checksum.text(&file)?;
            keys::parse(&file, &source)?
        };
        let anchor = keys::moment(&toml::Value::String(anchor.clone())).ok_or_else(|| {
            let place = Place::file(&dir.join("seed.toml")).column("anchor");
            Error::malformed(place, format!("{anchor:?} is no time such as 2026-01-01T00:00:00Z"))
        })?;

        let (mut prepare, mut finish) = (None, None);
        let mut files: Vec<SeedFile> = Vec::new();
        let mut generated = Vec::new();
        for file in sorted(&dir)? {
            let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
            if name == "seed.toml" || name.starts_with('.') {
                continue;
            }
            if name == "prepare.sql" {
                prepare = Some((file.clone(), checksum.text(&file)?));
                continue;
            }
            if name == "finish.sql" {
                finish = Some((file.clone(), checksum.text(&file)?));
                continue;
            }
            let (table, extension) = numbered(name).ok_or_else(|| {
                let allowed = "seed.toml, prepare.sql, finish.sql, NN_table.csv and NN_table.toml";
                Error::malformed(
                    Place::file(&file),
                    format!("no seed file has such a name (allowed: {allowed})"),
                )
            })?;
            if let Some(other) = files.iter().find(|other| other.table == table) {
                let found = format!("table {table} is filled by {} already", other.file.display());
                return Err(Error::malformed(Place::file(&file), found));
            }
            let content = if extension == "csv" {
                checksum.file(&file)?;
                Content::Csv(CsvFile::read(&file)?)
            } else {
                let source = checksum.text(&file)?;
                generated.push(spec::read(&file, &source, table, anchor, &generated)?);
                Content::Generated(generated.len() - 1)
            };
            files.push(SeedFile { table: table.to_owned(), file: file.clone(), content });
        }
        Model::new(&generated, seed, 1.0)?;
        Ok(Seeds {
            name: name.to_owned(),
            description,
            default_seed: seed,
            checksum: checksum.finish(),
            prepare,
            finish,
            files,
            generated,
        })
    }

    /// The set's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `seed.toml` says about the set.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The SHA-256 of all files of the set, in hexadecimal.
    pub fn checksum(&self) -> &str {
        &self.checksum
    }
}

/// `10_users.csv` is (`users`, `csv`).
fn numbered(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let (number, table) = stem.split_once('_')?;
    let number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (number && is_plain(table) && matches!(extension, "csv" | "toml")).then_some((table, extension))
}

/// Whether a file of a set can be named after the table.
pub(crate) fn is_plain(table: &str) -> bool {
    !table.is_empty() && table.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn available(dir: &Path) -> Result<Vec<String>> {
    let sets = sorted(dir)?.into_iter().filter(|path| path.join("seed.toml").is_file());
    Ok(sets.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(|source| Error::unreadable(dir, source))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Error::unreadable(dir, source))?;
    paths.sort();
    Ok(paths)
}

/// One hash over the names and contents of all files, in the order in which they are read.
struct Checksum(Sha256);

impl Checksum {
    fn new() -> Self {
        Checksum(Sha256::new_with_prefix(format!("db-seeds {GENERATOR_VERSION}\n")))
    }

    fn text(&mut self, file: &Path) -> Result<String> {
        let text = fs::read_to_string(file).map_err(|source| Error::unreadable(file, source))?;
        self.begin(file, text.len() as u64);
        self.0.update(&text);
        Ok(text)
    }

    fn file(&mut self, file: &Path) -> Result<()> {
        let unreadable = |source| Error::unreadable(file, source);
        let mut open = fs::File::open(file).map_err(unreadable)?;
        self.begin(file, open.metadata().map_err(unreadable)?.len());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match open.read(&mut buffer).map_err(unreadable)? {
                0 => return Ok(()),
                read => self.0.update(&buffer[..read]),
            }
        }
    }

    fn begin(&mut self, file: &Path, length: u64) {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.0.update(format!("{name} {length}\n"));
    }

    fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn a_file_name_says_order_table_and_kind() {
        assert_eq!(numbered("10_users.csv"), Some(("users", "csv")));
        assert_eq!(numbered("020_user_organizations.toml"), Some(("user_organizations", "toml")));
        for wrong in [
            "users.csv",
            "_users.csv",
            "1a_users.csv",
            "10_.csv",
            "10_Users.csv",
            "10_users.json",
            "10_a b.csv",
        ] {
            assert_eq!(numbered(wrong), None, "{wrong}");
        }
    }
}
