//! What a statement did: which locks it took, what it rewrote, what it read from end to end, how long it
//! took.

use std::fmt;

use serde::{Serialize, Serializer};

use super::alteration::Alteration;
use super::statement_text::Told;

/// A table-level lock mode, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Taken by SELECT.
    AccessShare,
    /// Taken by SELECT FOR UPDATE.
    RowShare,
    /// Taken by INSERT, UPDATE, DELETE.
    RowExclusive,
    /// Taken by VACUUM, ANALYZE, CREATE INDEX CONCURRENTLY: stops other such, not readers or writers.
    ShareUpdateExclusive,
    /// Taken by CREATE INDEX: stops writers.
    Share,
    /// Taken by CREATE TRIGGER, ADD FOREIGN KEY: stops writers.
    ShareRowExclusive,
    /// Taken by REFRESH MATERIALIZED VIEW CONCURRENTLY: stops writers.
    Exclusive,
    /// Taken by DROP, TRUNCATE, most of ALTER TABLE: stops readers and writers.
    AccessExclusive,
}

impl Mode {
    const ALL: [(Mode, &'static str, &'static str); 8] = [
        (Mode::AccessShare, "AccessShareLock", "ACCESS SHARE"),
        (Mode::RowShare, "RowShareLock", "ROW SHARE"),
        (Mode::RowExclusive, "RowExclusiveLock", "ROW EXCLUSIVE"),
        (Mode::ShareUpdateExclusive, "ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
        (Mode::Share, "ShareLock", "SHARE"),
        (Mode::ShareRowExclusive, "ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
        (Mode::Exclusive, "ExclusiveLock", "EXCLUSIVE"),
        (Mode::AccessExclusive, "AccessExclusiveLock", "ACCESS EXCLUSIVE"),
    ];

    /// The mode of a name in `pg_locks`.
    pub fn from_pg_locks(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|(_, stored, _)| *stored == name).map(|(mode, ..)| mode)
    }

    /// The name in `pg_locks`: `AccessExclusiveLock`.
    pub fn pg_locks_name(self) -> &'static str {
        Mode::ALL.into_iter().find(|(mode, ..)| *mode == self).map_or("", |(_, stored, _)| stored)
    }

    /// Whether INSERT, UPDATE and DELETE wait for it.
    pub fn stops_writers(self) -> bool {
        self >= Mode::Share
    }

    /// Whether SELECT waits for it.
    pub fn stops_readers(self) -> bool {
        self == Mode::AccessExclusive
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Mode::ALL.into_iter().find(|(mode, ..)| mode == self).map_or("", |(.., spelt)| spelt))
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.pg_locks_name())
    }
}

/// A lock on a table, the strongest that the statement took there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lock {
    /// The table, with its schema where that is not `public`.
    pub relation: String,
    /// Which lock.
    pub mode: Mode,
    /// Whether the table was there before the migration: nobody waits for one that was not.
    pub existed_before: bool,
    /// Whether it is a partition: it is locked with its table.
    #[serde(skip_serializing_if = "is_false")]
    pub partition: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A table that a statement read from end to end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Scan {
    /// The table.
    pub relation: String,
    /// How many rows were read here.
    pub rows: i64,
}

/// Rows of a table that a statement changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Written {
    /// The table.
    pub relation: String,
    /// How many rows were written here.
    pub rows: i64,
}

/// What one statement did.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct StatementTrace {
    /// The statement's first words, on one line.
    pub sql_head: String,
    /// The line of the file that it begins on.
    pub line: usize,
    /// Whether it ran in a transaction: then its locks were held until the end of that.
    pub in_transaction: bool,
    /// The locks that it took beyond those that the transaction held already.
    pub locks: Vec<Lock>,
    /// Locks on tables that were there before which an earlier statement took, which stop writers or readers,
    /// and which were held while this statement ran.
    pub while_holding: Vec<Lock>,
    /// The tables, there before, that were written anew.
    pub rewrites: Vec<String>,
    /// The tables, there before, that were read from end to end.
    pub scans: Vec<Scan>,
    /// The tables, there before, on which an index was built while writers had to wait.
    pub blocking_index_build: Vec<String>,
    /// The tables, there before, of which rows were changed or deleted.
    pub written: Vec<Written>,
    /// What it took away, renamed or demands of what was there before: the code that runs beside it may need
    /// it.
    pub alterations: Vec<Alteration>,
    /// What its text tells and the catalogs do not.
    #[serde(skip)]
    pub(crate) told: Vec<Told>,
    /// How long it took here, in milliseconds.
    pub ms: f64,
    /// How long its locks were held here, in milliseconds: until its transaction ended.
    pub held_ms: f64,
}

impl StatementTrace {
    /// The locks on tables that were there before which stop writers or readers.
    pub fn blocking_locks(&self) -> impl Iterator<Item = &Lock> {
        self.locks.iter().filter(|lock| lock.existed_before && lock.mode.stops_writers())
    }
}

/// The first words of a statement, on one line, cut at 100 characters.
pub(crate) fn head(sql: &str) -> String {
    const MOST: usize = 100;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line,
    }
}
