//! What can be wrong with a file of the log, and the way out of each.

use crate::wal_name::Segment;

/// What is wrong with a file that shall go into the archive, or came out of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// It is not whole.
    #[error("{segment} is not whole: {reason}; look at the disk of pg_wal")]
    Torn {
        /// The segment.
        segment: Segment,
        /// What is missing.
        reason: String,
    },
    /// A history file that no server wrote.
    #[error(
        "the history of timeline {timeline} has a line that is none: {line:?}; take the file from a server"
    )]
    NotHistory {
        /// The timeline.
        timeline: u32,
        /// The line.
        line: String,
    },
    /// A name that no file of the log has.
    #[error("{0:?} names no file of the log: give %f and %p as the server does")]
    Name(String),
    /// A name that no replication slot can have.
    #[error("{0:?} is no name of a replication slot: it has lower-case letters, digits and underscores only")]
    Slot(String),
}
