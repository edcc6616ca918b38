//! What the runner refuses to pass over in silence, and what the caller said to let be.

use crate::error::MigrationError;
use crate::ledger::State;
use crate::source::Migrations;

/// Findings that are let be; by default each is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accept {
    /// Applied migrations whose up.sql was edited since.
    pub edited: bool,
    /// Pending migrations that come before applied ones.
    pub out_of_order: bool,
    /// Applied migrations that are not in the directory: an older release runs on a newer schema.
    pub unknown: bool,
}

/// Fails with the first thing that is neither right nor accepted.
pub(crate) fn check(migrations: &Migrations, state: &State, accept: Accept) -> Result<(), MigrationError> {
    let under_way = state.under_way.iter().map(|under_way| &under_way.version);
    for version in state.applied.iter().chain(under_way) {
        if migrations.get(version).is_none() && !accept.unknown {
            return Err(MigrationError::Unknown { version: version.clone() });
        }
    }
    for migration in migrations {
        let version = &migration.version;
        let known = state.checksums.get(version);
        if known.is_some_and(|known| *known != migration.checksum) && !accept.edited {
            let (version, migration) = (version.clone(), migration.label());
            return Err(MigrationError::Edited { version, migration });
        }
        let newest = state.applied.last().filter(|newest| *newest > version);
        if let Some(newest) = newest
            && !accept.out_of_order
            && !state.applied.contains(version)
            && !state.under_way.iter().any(|under_way| under_way.version == *version)
        {
            return Err(MigrationError::OutOfOrder { migration: migration.label(), newest: newest.clone() });
        }
    }
    Ok(())
}
