//! How a set is: how far ahead it has partitions, and when an insert will fail.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::name::TableName;

/// How one set is.
///
/// ```
/// use db_maintenance::partitions::Health;
///
/// let health = Health { rows_in_default: 3, ..Health::default() };
/// assert!(!health.is_well());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Health {
    /// How many partitions it has.
    pub partitions: usize,
    /// When the next insert of a row of its time will fail, because there is no partition: in the past if it
    /// fails now; none if there is a place for every row, or the set does not go by time.
    pub next_insert_fails_at: Option<DateTime<Utc>>,
    /// How far ahead of the server's clock there are partitions, in seconds; none where there is no end.
    pub ahead_seconds: Option<i64>,
    /// How far ahead the policy wants them, in seconds.
    pub wanted_ahead_seconds: i64,
    /// The default partition, where there is one.
    pub default: Option<TableName>,
    /// How many rows it has; counting ends at 100,000.
    pub rows_in_default: i64,
    /// Ranges between partitions that have none.
    pub holes: Vec<String>,
    /// Values or remainders for which there is no partition.
    pub missing: Vec<String>,
    /// Partitions whose detaching was interrupted.
    pub pending: Vec<TableName>,
    /// Tables that were detached and are not dropped yet.
    pub detached: Vec<TableName>,
}

impl Health {
    /// Whether nothing needs a person: there is a place for every row of now, and none is in the default
    /// partition.
    pub fn is_well(&self) -> bool {
        self.ahead_seconds.is_none_or(|ahead| ahead > 0)
            && self.rows_in_default == 0
            && self.missing.is_empty()
            && self.pending.is_empty()
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} partitions", self.partitions)?;
        match (self.next_insert_fails_at, self.ahead_seconds) {
            (Some(at), Some(ahead)) if ahead > 0 => {
                let days = ahead / 86_400;
                write!(
                    f,
                    ", {days} days ahead: without upkeep the next insert fails at {}",
                    at.format("%F %T UTC")
                )?;
            }
            (Some(_), _) => f.write_str(", and a row of now has NO partition: inserts fail")?,
            (None, _) => {}
        }
        if let Some(default) = &self.default {
            let more = if self.rows_in_default >= 100_000 { "at least " } else { "" };
            write!(f, ", {more}{} rows in the default partition {default}", self.rows_in_default)?;
        }
        for (what, which) in [("no partition for", &self.missing), ("a hole", &self.holes)] {
            if !which.is_empty() {
                write!(f, ", {what} {}", which.join(", "))?;
            }
        }
        let pending = self.pending.len();
        if pending > 0 {
            write!(f, ", {pending} detached in part")?;
        }
        match self.detached.len() {
            0 => Ok(()),
            detached => write!(f, ", {detached} detached and not dropped yet"),
        }
    }
}
