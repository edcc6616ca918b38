//! What a backfill says of itself: before, while it runs, and in the end.

use std::time::Duration;

use db_throttle::Reason;

/// What a backfill would do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BackfillPlan {
    /// The name of its progress.
    pub name: String,
    /// The table with its schema.
    pub table: String,
    /// The columns by which its rows are visited.
    pub key: Vec<String>,
    /// How many rows the server believes there are.
    pub rows: Option<i64>,
    /// The table's size in bytes; if every row is filled, as much is written once more before vacuum gives
    /// room back.
    pub bytes: i64,
    /// The triggers that fire for each row.
    pub triggers: Vec<String>,
    /// Rows that an earlier run has looked at, where it did not come to its end.
    pub seen_before: Option<i64>,
    /// The statement of a batch.
    pub statement: String,
}

/// How far a backfill is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BackfillProgress {
    /// Rows that were looked at, in earlier runs too.
    pub rows_seen: i64,
    /// Rows that were filled.
    pub rows_filled: i64,
    /// How many rows the server believes there are.
    pub rows: Option<i64>,
    /// Rows a second since this run began.
    pub rows_per_second: f64,
    /// How long the rest takes at this rate.
    pub eta: Option<Duration>,
    /// Why it pauses just now.
    pub pause: Reason,
}

/// Rows that are not filled in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unfilled {
    /// The expression gave NULL for them.
    pub stayed_null: i64,
    /// They were locked until the end.
    pub locked: i64,
    /// The server refused to write them.
    pub failed: i64,
    /// All rows that still need filling; more than the others together where rows came without the columns
    /// meanwhile. None where a condition says which rows are filled, for it may hold of filled ones too.
    pub left: Option<i64>,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BackfillOutcome {
    /// Whether it came to its end; otherwise it was told to stop, and the same command goes on.
    pub finished: bool,
    /// Rows that were looked at, in earlier runs too.
    pub rows_seen: i64,
    /// Rows that were filled, in earlier runs too.
    pub rows_filled: i64,
    /// What is not filled.
    pub unfilled: Unfilled,
    /// How long this run took.
    pub elapsed: Duration,
    /// Sessions whose open transactions had written to the table when rows stayed locked.
    pub holders: Vec<i64>,
    /// Why rows could not be written: a reason, and how many rows have it.
    pub failures: Vec<(String, i64)>,
}
