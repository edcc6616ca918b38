//! What a source of connections knows of one of them: the server's own word on the transaction, and which
//! server it is.
//!
//! `None` is "unknown": a source that does not read the wire knows little, and nobody may conclude anything
//! from that.

use std::sync::Arc;

use crate::{Opened, SqlState};

/// What is known of one connection now.
///
/// A wrapper passes on the value of what it wraps, whole. A source that knows nothing answers
/// [`Facts::UNKNOWN`].
///
/// ```
/// use db_core::{Facts, TransactionStatus};
///
/// let facts = Facts { status: Some(TransactionStatus::Open), commits: Some(0), ..Facts::UNKNOWN };
/// assert!(facts.failed_with.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The transaction's status, as the last ReadyForQuery said it.
    ///
    /// Source: the PostgreSQL manual, "Message Formats", ReadyForQuery.
    pub status: Option<TransactionStatus>,
    /// The code of the error that failed the transaction which is open now, or was open last.
    ///
    /// It is what the server said, whatever the caller's own error type made of it.
    pub failed_with: Option<SqlState>,
    /// How many transactions have ended with COMMIT on this connection since it was opened.
    ///
    /// Two values that differ mean that a transaction committed in between, whoever sent its COMMIT.
    pub commits: Option<u64>,
    /// How often the server has given up waiting for a synchronous standby on this connection since it was
    /// opened.
    ///
    /// Such a COMMIT is answered as any other, although no standby has it (a WARNING of `SyncRepWaitForLSN`
    /// goes before).
    pub waits_given_up: Option<u64>,
    /// How many statements were sent to be run on this connection since it was opened.
    ///
    /// Where it is what it was before, and the connection is lost, nothing of the work has reached the
    /// server.
    pub runs: Option<u64>,
    /// How many statements were sent to be prepared on this connection since it was opened.
    pub prepares: Option<u64>,
    /// The code of the FATAL error with which the server ended the session: its last words.
    pub last_words: Option<SqlState>,
    /// Whether the last error says that what the client keeps of the database is stale, and came before the
    /// statement did anything: a statement was prepared before its table changed, or a type was looked up
    /// that has been made anew.
    ///
    /// The same work succeeds on a new connection, and on any of this source's once this one has gone back.
    pub stale: bool,
    /// The server that the connection leads to for as long as it is open; unknown behind a pooler, which may
    /// lead each transaction to another one.
    pub server: Option<ServerId>,
    /// What became of the BEGIN that was to travel with the first request of the transaction.
    pub begin: Opened,
    /// The row that answered the question behind that BEGIN, with its values as text; none where there was no
    /// row, or it has not come.
    pub opened: Option<Arc<[Option<String>]>>,
}

impl Facts {
    /// Nothing is known.
    pub const UNKNOWN: Facts = Facts {
        status: None,
        failed_with: None,
        commits: None,
        waits_given_up: None,
        runs: None,
        prepares: None,
        last_words: None,
        stale: false,
        server: None,
        begin: Opened::Apart,
        opened: None,
    };
}

/// The server's word on the transaction: the status byte of ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransactionStatus {
    /// `I`: no transaction is open.
    #[default]
    Idle,
    /// `T`: a transaction is open.
    Open,
    /// `E`: a transaction is open and can only be rolled back.
    Failed,
}

/// Tells one run of one server from every other: a name may lead to another server tomorrow.
///
/// ```
/// use db_core::ServerId;
///
/// let before = ServerId { system: Some(7_301), started: Some(1_000) };
/// let after_a_restart = ServerId { started: Some(2_000), ..before };
/// assert_ne!(before, after_a_restart);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId {
    /// The cluster's system identifier (`pg_control_system()`), where the role may ask for it. A physical
    /// standby has that of its primary.
    pub system: Option<u64>,
    /// When the server was started (`pg_postmaster_start_time()`), in microseconds since 1970.
    pub started: Option<i64>,
}
