//! Which migrations are applied, which are pending, and which are applied but not known here.

use std::fmt;

use crate::source::{Migrations, Version};

/// Which migrations are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Every migration that is in the directory or applied, in order.
    pub entries: Vec<StatusEntry>,
}

/// One migration, and whether it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusEntry {
    /// Its version.
    pub version: Version,
    /// Its name; none where it is applied but not in the directory.
    pub name: Option<String>,
    /// Whether it is applied.
    pub applied: bool,
}

impl Status {
    pub(crate) fn of(migrations: &Migrations, applied: &[Version]) -> Self {
        let known = migrations.iter().map(|migration| StatusEntry {
            version: migration.version.clone(),
            name: Some(migration.name.clone()),
            applied: applied.contains(&migration.version),
        });
        let unknown = applied
            .iter()
            .filter(|version| migrations.get(version).is_none())
            .map(|version| StatusEntry { version: version.clone(), name: None, applied: true });
        let mut entries: Vec<_> = known.chain(unknown).collect();
        entries.sort_by(|a, b| a.version.cmp(&b.version));
        Status { entries }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for StatusEntry { version, name, applied } in &self.entries {
            match (name, applied) {
                (Some(name), true) => writeln!(f, "applied  {version}_{name}")?,
                (Some(name), false) => writeln!(f, "pending  {version}_{name}")?,
                (None, _) => writeln!(f, "unknown  {version} is applied but not in the directory")?,
            }
        }
        let pending = self.entries.iter().filter(|entry| !entry.applied).count();
        write!(f, "{} applied, {pending} pending", self.entries.len() - pending)
    }
}
