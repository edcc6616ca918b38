//! Keeps a database with what a check applies without looking at it, so that the next check begins with its
//! copy.

use sha2::{Digest, Sha256};

use super::config::CheckConfig;
use crate::source::Migration;

/// How the names of kept databases begin.
pub(super) const PREFIX: &str = "db_migrations_base_";

/// How many are kept: those that were used last.
pub(super) const KEPT: usize = 3;

/// A database with the first migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// Stands for everything that made it.
    hash: u128,
    /// How many migrations are in it.
    pub(super) migrations: usize,
}

impl Base {
    /// The base of a check, where one is wanted and something runs before what is checked.
    pub(super) fn of(chosen: &[(&Migration, bool)], config: &CheckConfig, server: &str) -> Option<Base> {
        let first: Vec<&Migration> =
            chosen.iter().take_while(|(_, checked)| !checked).map(|(migration, _)| *migration).collect();
        if !config.keep_base || first.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part(concat!(env!("CARGO_PKG_VERSION"), " 1"));
        part(server);
        part(config.before.as_deref().unwrap_or_default());
        for migration in &first {
            part(migration.version.as_str());
            part(if migration.run_in_transaction { "together" } else { "alone" });
            part(&migration.up);
        }
        let bytes = hash.finalize().first_chunk().copied().unwrap_or_default();
        Some(Base { hash: u128::from_le_bytes(bytes), migrations: first.len() })
    }

    /// The name of its database.
    pub(super) fn name(&self) -> String {
        format!("{PREFIX}{:032x}", self.hash)
    }
}
