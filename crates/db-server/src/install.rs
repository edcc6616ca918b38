//! One PostgreSQL installation: where its programs are, and which version they are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result, process};

/// The programs that an installation must have to be of use.
pub const PROGRAMS: [&str; 6] = ["initdb", "postgres", "pg_ctl", "pg_basebackup", "pg_rewind", "psql"];

/// A PostgreSQL version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The major version: 15 in 15.8.
    pub major: u16,
    /// The minor version: 8 in 15.8, 0 for a development version.
    pub minor: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads what `postgres --version` prints.
    pub fn parse(said: &str) -> Option<Version> {
        let number =
            said.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        Some(Version { major: digits(major).parse().ok()?, minor: digits(minor).parse().unwrap_or(0) })
    }
}

/// How an installation was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `DB_PLATFORM_PG_BIN` names it.
    Named,
    /// Its programs are on PATH.
    Path,
    /// It is in one of the usual install places.
    Installed,
    /// It was fetched earlier.
    Fetched,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Named => "DB_PLATFORM_PG_BIN",
            Origin::Path => "PATH",
            Origin::Installed => "installed",
            Origin::Fetched => "fetched",
        })
    }
}

/// A complete set of server programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The directory with the programs.
    pub bin: PathBuf,
    /// Their version.
    pub version: Version,
    /// How they were come by.
    pub origin: Origin,
}

impl Install {
    /// Looks at a directory; the error says in a few words why it is no installation.
    pub fn at(bin: &Path, origin: Origin) -> Result<Install, String> {
        let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !bin.join(name).is_file()).collect();
        if missing.len() == PROGRAMS.len() {
            return Err("holds no server programs".to_owned());
        }
        if !missing.is_empty() {
            return Err(format!("lacks {}", missing.join(", ")));
        }
        let version = version_of(&bin.join("postgres")).map_err(|error| error.to_string())?;
        Ok(Install { bin: bin.to_owned(), version, origin })
    }

    /// One of the installation's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A command for one of the programs, free of settings that the caller's environment might hold for
    /// clients.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(|variable| variable.starts_with("PG")) {
                command.env_remove(variable);
            }
        }
        command.env("LC_ALL", "C");
        command
    }
}

fn version_of(postgres: &Path) -> Result<Version> {
    let output = process::run(Command::new(postgres).arg("--version"))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Version::parse(&said).ok_or_else(|| Error::BadVersion { program: postgres.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_print_them() {
        let check = |said: &str, expected: Option<(u16, u16)>| {
            let found = Version::parse(said).map(|version| (version.major, version.minor));
            assert_eq!(found, expected, "{said}");
        };
        check("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some((15, 18)));
        check("postgres (PostgreSQL) 18.1", Some((18, 1)));
        check("postgres (PostgreSQL) 19devel", Some((19, 0)));
        check("postgres (PostgreSQL) 17beta2", Some((17, 0)));
        check("no such thing", None);
    }
}
