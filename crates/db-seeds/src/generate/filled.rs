//! What became of one table.

use std::fmt;

/// What became of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filled {
    /// The table with its schema.
    pub table: String,
    /// The rows that were asked for.
    pub wanted: u64,
    /// The rows that it got.
    pub rows: u64,
    /// Why it got fewer, in words.
    pub short: Option<String>,
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} rows", self.table, self.rows, self.wanted)?;
        match &self.short {
            Some(short) => write!(f, ": {short}"),
            None => Ok(()),
        }
    }
}
