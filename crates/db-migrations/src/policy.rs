//! How the runner behaves: what it refuses to pass over in silence, what the caller said to let be, how long
//! it waits.

use std::time::Duration;

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
    /// Of those the ones that are newer than everything in the directory: what a rolling deploy brings, but
    /// no branch that somebody forgot.
    pub newer: bool,
}

/// How the runner behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigratorConfig {
    /// The longest to wait for another runner to finish.
    pub lock_patience: Duration,
    /// The longest that a statement waits for a table's lock before everything is rolled back and tried
    /// again.
    ///
    /// Whoever wants the table meanwhile queues behind the waiting statement: this is how long traffic stops.
    pub lock_timeout: Duration,
    /// The longest pause between two attempts; the first ones are shorter. At most 0.9 s is sensible: a lock
    /// that has become free should be taken at once.
    pub lock_pause: Duration,
    /// How often a transaction is tried whose locks are not free. The default goes on for about nine minutes.
    pub lock_attempts: u32,
    /// The longest that CREATE INDEX CONCURRENTLY and its like wait for older transactions to end. Nobody
    /// queues behind them.
    pub concurrently_lock_timeout: Duration,
    /// What is let be that would otherwise be an error.
    pub accept: Accept,
    /// The schema of the ledger, the tables that say what is applied. None: the one that has a ledger, and
    /// `public` for a new one.
    ///
    /// Name it where several schemas of a database are migrated by themselves, as with a schema for each
    /// tenant: to choose between them would be a guess. The schema must exist.
    pub ledger_schema: Option<String>,
}

impl Default for MigratorConfig {
    fn default() -> Self {
        MigratorConfig {
            lock_patience: Duration::from_secs(300),
            lock_timeout: Duration::from_millis(100),
            lock_pause: Duration::from_millis(800),
            lock_attempts: 600,
            concurrently_lock_timeout: Duration::from_secs(600),
            accept: Accept::default(),
            ledger_schema: None,
        }
    }
}

/// Fails with the first thing that is neither right nor accepted.
pub(crate) fn check(migrations: &Migrations, state: &State, accept: Accept) -> Result<(), MigrationError> {
    match findings(migrations, state, accept).into_iter().next() {
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// Everything that is neither right nor accepted.
pub(crate) fn findings(migrations: &Migrations, state: &State, accept: Accept) -> Vec<MigrationError> {
    let mut found = Vec::new();
    let under_way = state.under_way.iter().map(|under_way| &under_way.version);
    let newest = migrations.iter().last().map(|migration| &migration.version);
    for version in state.applied.iter().chain(under_way) {
        let is_newer = newest.is_some_and(|newest| version > newest);
        if migrations.get(version).is_none() && !accept.unknown && !(accept.newer && is_newer) {
            found.push(MigrationError::Unknown { version: version.clone() });
        }
    }
    for migration in migrations {
        let version = &migration.version;
        let known = state.checksums.get(version);
        if known.is_some_and(|known| *known != migration.checksum) && !accept.edited {
            let (version, migration) = (version.clone(), migration.label());
            found.push(MigrationError::Edited { version, migration });
        }
        let newest = state.applied.last().filter(|newest| *newest > version);
        if let Some(newest) = newest
            && !accept.out_of_order
            && !state.applied.contains(version)
            && !state.under_way.iter().any(|under_way| under_way.version == *version)
        {
            found.push(MigrationError::OutOfOrder { migration: migration.label(), newest: newest.clone() });
        }
    }
    found
}
