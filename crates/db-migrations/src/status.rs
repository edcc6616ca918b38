//! Which migrations are applied, which are pending, and what is not as it should be.

use std::fmt;

use crate::ledger::State;
use crate::source::{Migrations, Version};

/// Which migrations are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Every migration that is in the directory or applied, in order; the repeatable ones last.
    pub entries: Vec<StatusEntry>,
}

/// One migration, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusEntry {
    /// Its version.
    pub version: Version,
    /// Its name; none where it is applied but not in the directory.
    pub name: Option<String>,
    /// Whether it is applied.
    pub applied: bool,
    /// Whether it was edited after it was applied; a repeatable one then runs again.
    pub edited: bool,
    /// Whether it is pending and comes before one that is applied.
    pub out_of_order: bool,
    /// How many of its parts have committed, where it was cut off.
    pub cut_off_after: Option<usize>,
}

impl Status {
    pub(crate) fn of(migrations: &Migrations, state: &State) -> Self {
        let entry = |version: &Version, name: Option<&str>, checksum: Option<&str>| {
            let known = state.checksums.get(version);
            let applied =
                if version.is_repeatable() { known.is_some() } else { state.applied.contains(version) };
            StatusEntry {
                version: version.clone(),
                name: name.map(str::to_owned),
                applied,
                edited: known.zip(checksum).is_some_and(|(known, now)| known != now),
                out_of_order: !applied
                    && !version.is_repeatable()
                    && state.applied.last().is_some_and(|newest| newest > version),
                cut_off_after: state.under_way.iter().find(|one| one.version == *version).map(|one| one.done),
            }
        };
        let known = migrations.iter().map(|one| entry(&one.version, Some(&one.name), Some(&one.checksum)));
        let unknown = state.applied.iter().filter(|version| migrations.get(version).is_none());
        let mut entries: Vec<_> = known.chain(unknown.map(|version| entry(version, None, None))).collect();
        entries.sort_by(|a, b| a.version.cmp(&b.version));
        let repeatable = migrations.repeatable().iter();
        entries.extend(repeatable.map(|one| entry(&one.version, Some(&one.name), Some(&one.checksum))));
        let is_gone = |version: &&Version| version.is_repeatable() && migrations.get(version).is_none();
        entries.extend(state.checksums.keys().filter(is_gone).map(|version| entry(version, None, None)));
        Status { entries }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let Some(name) = &entry.name else {
                writeln!(f, "unknown  {} is applied but not in the directory", entry.version)?;
                continue;
            };
            let state = if entry.applied { "applied" } else { "pending" };
            write!(f, "{state}  {}", entry.version.with_name(name))?;
            if let Some(parts) = entry.cut_off_after {
                write!(f, " (cut off, parts done: {parts})")?;
            }
            if entry.out_of_order {
                f.write_str(" (comes before one that is applied)")?;
            }
            if entry.edited {
                f.write_str(if entry.version.is_repeatable() {
                    " (changed, runs again)"
                } else {
                    " (edited since)"
                })?;
            }
            writeln!(f)?;
        }
        let pending = self.entries.iter().filter(|entry| !entry.applied).count();
        write!(f, "{} applied, {pending} pending", self.entries.len() - pending)
    }
}
