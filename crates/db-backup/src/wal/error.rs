//! What can be wrong with a file of the log, and the way out of each.

use db_core::Lsn;

use crate::wal_name::Segment;

/// What is wrong with a file that shall go into the archive, or come out of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// It is no write-ahead log.
    #[error("this is no segment of a write-ahead log: {reason}; look for what wrote it into pg_wal")]
    NotWal {
        /// What is wrong with it.
        reason: String,
    },
    /// It is another cluster's.
    #[error(
        "{segment} is of the cluster {found}, and this one is the cluster {expected}: look for what put it into pg_wal"
    )]
    Foreign {
        /// The segment.
        segment: Segment,
        /// The system identifier in it.
        found: u64,
        /// The system identifier of the cluster.
        expected: u64,
    },
    /// Its content belongs elsewhere in the log.
    #[error(
        "{segment} holds the log from {found} and not from {expected}: the file was renamed, or is left from an earlier \
         use; look for what did it"
    )]
    Misplaced {
        /// The segment.
        segment: Segment,
        /// Where its content begins.
        found: Lsn,
        /// Where it should begin.
        expected: Lsn,
    },
    /// It is not whole.
    #[error("{segment} is not whole: {reason}; look at the disk of pg_wal")]
    Torn {
        /// The segment.
        segment: Segment,
        /// What is missing.
        reason: String,
    },
    /// A history file that no server wrote.
    #[error("the history of timeline {timeline} has a line that is none: {line:?}; take the file from a server")]
    NotHistory {
        /// The timeline.
        timeline: u32,
        /// The line.
        line: String,
    },
    /// A name that no file of the log has.
    #[error("{0:?} names no file of the log: give %f and %p as the server does")]
    Name(String),
}
