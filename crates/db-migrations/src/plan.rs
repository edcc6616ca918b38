//! What would run: a printable value, made by reading only.

use std::fmt;

use crate::source::{Migration, Version};

/// What would run, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The migrations that are not applied yet, in order.
    pub pending: Vec<Planned>,
}

/// One migration that would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// Whether it runs in a transaction.
    pub run_in_transaction: bool,
}

impl Plan {
    pub(crate) fn of<'a>(migrations: impl IntoIterator<Item = &'a Migration>, applied: &[Version]) -> Self {
        let pending = migrations
            .into_iter()
            .filter(|migration| !applied.contains(&migration.version))
            .map(|migration| Planned {
                version: migration.version.clone(),
                name: migration.name.clone(),
                run_in_transaction: migration.run_in_transaction,
            })
            .collect();
        Plan { pending }
    }

    /// Whether nothing would run.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to apply");
        }
        for (index, Planned { version, name, run_in_transaction }) in self.pending.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            let how = if *run_in_transaction { "" } else { " (outside a transaction)" };
            write!(f, "{newline}apply {version}_{name}{how}")?;
        }
        Ok(())
    }
}
