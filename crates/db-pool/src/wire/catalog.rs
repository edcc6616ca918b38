//! What a name means to PostgreSQL itself: its own functions and its key words, by version.
//!
//! `catalog.txt` is made from servers of these versions by the example `catalog`; catalog.sql says what each
//! line means.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a name means to PostgreSQL itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A function that leaves nothing in the session.
    Harmless,
    /// A function that may.
    Changing,
    /// A key word that no function is called by.
    Keyword,
    /// A key word that is an operator where an operand goes before it.
    Operator,
}

/// What a name means in each version, a bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meanings {
    harmless: u8,
    changing: u8,
    keyword: u8,
    operator: u8,
}

/// A version of the server, as far as the catalog tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u8);

const OLDEST: u16 = 14;
const NEWEST: u16 = 19;
const ALL: u8 = (1 << (NEWEST - OLDEST + 1)) - 1;

static CATALOG: LazyLock<HashMap<&'static str, Meanings>> =
    LazyLock::new(|| read(include_str!("catalog/catalog.txt")));

impl Version {
    /// Reads `server_version`; older and newer ones are taken for the oldest and the newest that is known.
    pub(crate) fn reported(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let major: u16 = text.get(..digits)?.parse().ok()?;
        Some(Version::of(major))
    }

    fn of(major: u16) -> Self {
        Version(1 << (major.clamp(OLDEST, NEWEST) - OLDEST))
    }
}

impl Default for Version {
    fn default() -> Self {
        Version::of(NEWEST)
    }
}

impl Meanings {
    /// What a name means, which is in lower case unless it stood in quotes.
    pub(super) fn of(name: &str) -> Self {
        CATALOG.get(name).copied().unwrap_or_default()
    }

    pub(super) fn has(self, meaning: Meaning, version: Version) -> bool {
        let versions = match meaning {
            Meaning::Harmless => self.harmless,
            Meaning::Changing => self.changing,
            Meaning::Keyword => self.keyword,
            Meaning::Operator => self.operator,
        };
        versions & version.0 != 0
    }
}

fn read(catalog: &'static str) -> HashMap<&'static str, Meanings> {
    let mut read: HashMap<&'static str, Meanings> = HashMap::new();
    for line in catalog.lines() {
        let mut parts = line.split(' ');
        let (Some(kind), Some(name)) = (parts.next(), parts.next()) else { continue };
        let versions = parts.next().map_or(ALL, |list| {
            let majors = list.split(',').filter_map(|major| major.parse().ok());
            majors.fold(0, |all, major| all | Version::of(major).0)
        });
        let meanings = read.entry(name).or_default();
        match kind {
            "f" => meanings.harmless |= versions,
            "c" => meanings.changing |= versions,
            "k" => meanings.keyword |= versions,
            "t" => meanings.operator |= versions,
            _ => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read() {
        let lines = include_str!("catalog/catalog.txt").lines().count();
        let bits = |meanings: &Meanings| {
            let all = [meanings.harmless, meanings.changing, meanings.keyword, meanings.operator];
            all.iter().filter(|versions| **versions != 0).count()
        };
        assert_eq!(CATALOG.values().map(bits).sum::<usize>(), lines);
        assert!(lines > 2_000, "{lines}");
    }

    #[test]
    fn a_name_means_what_it_means_to_that_version() {
        let check = |name: &str, meaning: Meaning, versions: [bool; 3]| {
            let told = ["14.23 (Debian 14.23-1)", "17.11", "99devel"]
                .map(|text| Meanings::of(name).has(meaning, Version::reported(text).unwrap()));
            assert_eq!(told, versions, "{name}");
        };
        check("lower", Meaning::Harmless, [true; 3]);
        check("regexp_count", Meaning::Harmless, [false, true, true]);
        check("setseed", Meaning::Changing, [true; 3]);
        check("json_value", Meaning::Keyword, [false, true, true]);
        check("like", Meaning::Operator, [true; 3]);
        check("left", Meaning::Harmless, [true; 3]);
        check("settle", Meaning::Harmless, [false; 3]);
    }
}
