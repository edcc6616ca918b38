//! What a check looks at.

use std::time::Duration;

use super::findings::FailOn;
use crate::source::Version;
use crate::stats::Stats;

/// What is checked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckConfig {
    /// The versions to check, as they are stored; all where it is empty. Those before them are applied
    /// unchecked.
    pub only: Vec<String>,
    /// The versions that have run already where this is going to run ([`Past`](super::Past)): they are
    /// applied first, whatever their place in the order, and unchecked.
    pub past: Vec<Version>,
    /// The `schema.rs` of the code that runs while the migrations do: its columns must still be there
    /// afterwards.
    pub old_schema: Option<String>,
    /// SQL that fills the tables before the first migration that is checked, so that there are rows to lock
    /// and read.
    pub seed: Option<String>,
    /// The sizes of production's tables, for what a lock would mean there.
    pub stats: Option<Stats>,
    /// Up to this version only the round trip is judged: what has run everywhere is not indicted for its
    /// locks.
    pub start_after: Option<String>,
    /// SQL that runs before the first migration, for what they do not make themselves: roles, extensions.
    pub before: Option<String>,
    /// From which severity on the check fails.
    pub fail_on: FailOn,
    /// The longest that one statement may take.
    pub statement_timeout: Duration,
    /// Keeps a database with what is applied unchecked, `db_migrations_base_` and a hash of it, for the next
    /// check that begins there: of use on a server that stays. The three that were used last are kept.
    pub keep_base: bool,
}

impl Default for CheckConfig {
    fn default() -> Self {
        CheckConfig {
            only: Vec::new(),
            past: Vec::new(),
            old_schema: None,
            seed: None,
            stats: None,
            start_after: None,
            before: None,
            fail_on: FailOn::Error,
            statement_timeout: Duration::from_secs(600),
            keep_base: false,
        }
    }
}
