//! The platform's error: one `match` tells a caller what to do.
//!
//! Display says what, where and how long; it never carries a password, a bind value or row data. The class
//! says whether to try again. A variant is a decision that a caller can take, not a layer that failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::settings::InvalidSettings;
use crate::{
    CircuitOpen, Class, Classify, ConnectError, Endpoint, Evidence, Holder, Role, ServerReport, SqlState,
    UnknownCommit,
};

/// A result with the platform's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong between the service and PostgreSQL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Every connection of the pool stayed in use for as long as the caller was willing to wait.
    #[error(
        "no connection to {endpoint} became free within {waited:?} ({open} open, {idle} idle, {waiting} waiting, at most {max}{})",
        OldestHolder(oldest)
    )]
    PoolTimeout {
        /// The server that the pool connects to.
        endpoint: Endpoint,
        /// How long the caller waited.
        waited: Duration,
        /// Connections that were open then.
        open: usize,
        /// Connections that lay idle then.
        idle: usize,
        /// Callers that were waiting then.
        waiting: usize,
        /// The most that the pool may open.
        max: usize,
        /// Who had held a connection for longest.
        oldest: Option<Box<Holder>>,
    },
    /// The pool was shut down.
    #[error("the pool of connections to {endpoint} is closed")]
    PoolClosed {
        /// The server that the pool connected to.
        endpoint: Endpoint,
    },
    /// More callers are waiting than the pool lets wait.
    #[error("{waiting} callers already wait for a connection to {endpoint}, at most {limit} may")]
    QueueFull {
        /// The server that the pool connects to.
        endpoint: Endpoint,
        /// Callers that were waiting then.
        waiting: usize,
        /// The most that may wait.
        limit: usize,
    },
    /// A circuit breaker refuses callers: the server did not answer too many of the last calls.
    #[error(transparent)]
    CircuitOpen(Box<CircuitOpen>),
    /// No connection could be opened.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// No server may take the work: none takes writes, or none that may answer is fresh enough.
    #[error("no {role} may take the work: {reason} (waited {waited:?})")]
    NoServer {
        /// What was looked for.
        role: Role,
        /// What stands in the way.
        reason: String,
        /// How long the caller waited for one.
        waited: Duration,
    },
    /// The statement ran into `statement_timeout`, or was cancelled.
    #[error("statement cancelled: {0}")]
    QueryTimeout(Box<ServerReport>),
    /// The caller's deadline passed before the work was done.
    #[error("not done within {waited:?}")]
    DeadlineExceeded {
        /// How long it was tried.
        waited: Duration,
    },
    /// A unique constraint or index already has this key.
    #[error("unique violation: {0}")]
    UniqueViolation(Box<ServerReport>),
    /// The row that is referred to does not exist, or is still referred to.
    #[error("foreign key violation: {0}")]
    ForeignKeyViolation(Box<ServerReport>),
    /// A check constraint refused the row.
    #[error("check violation: {0}")]
    CheckViolation(Box<ServerReport>),
    /// A column that must not be null was null.
    #[error("not-null violation: {0}")]
    NotNullViolation(Box<ServerReport>),
    /// An exclusion constraint refused the row.
    #[error("exclusion violation: {0}")]
    ExclusionViolation(Box<ServerReport>),
    /// The transaction could not be serialized; on a standby, replay had to cancel it.
    #[error("serialization failure: {0}")]
    SerializationFailure(Box<ServerReport>),
    /// The transaction was the victim of a deadlock.
    #[error("deadlock: {0}")]
    Deadlock(Box<ServerReport>),
    /// A lock was not to be had within `lock_timeout`, or at all with NOWAIT.
    #[error("lock not available: {0}")]
    LockTimeout(Box<ServerReport>),
    /// A write reached a standby, or a session that is read-only.
    #[error("read-only server: {0}")]
    ReadOnly(Box<ServerReport>),
    /// A write reached a read, which goes to servers and sessions that refuse writes.
    #[error("write refused in a read: {0}; use a transaction for work that writes")]
    WriteInRead(Box<ServerReport>),
    /// The server is starting, stopping or recovering.
    #[error("server shutting down or starting: {0}")]
    AdminShutdown(Box<ServerReport>),
    /// The server has no place for another connection.
    #[error("too many connections: {0}")]
    TooManyConnections(Box<ServerReport>),
    /// Any other error of the server's: ask [`Error::sqlstate`].
    #[error("{0}")]
    Server(Box<ServerReport>),
    /// The connection was lost while the statement was under way, before any COMMIT was sent.
    #[error("connection lost: {reason}")]
    ConnectionLost {
        /// What the connection said when it went.
        reason: String,
    },
    /// The transaction was not the work's own any more when it was to end: something inside the work ended
    /// it.
    ///
    /// What the work did before may be committed, so it is not run again.
    #[error(
        "the transaction ended inside its work: {reason}; send no BEGIN, COMMIT or ROLLBACK there, and use a savepoint for \
         a part that may fail"
    )]
    TransactionEnded {
        /// What was seen of it.
        reason: String,
    },
    /// COMMIT was sent and its answer was lost: the server may have committed, or not, and could not be
    /// asked.
    #[error(transparent)]
    CommitUnknown(Box<UnknownCommit>),
    /// A query that must find a row found none.
    #[error("no row found")]
    NotFound,
    /// A value could not be sent or read: the Rust type does not fit the column.
    #[error("value does not fit: {0}")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client library refused the request: a query that cannot be built, a misuse of transactions.
    #[error("query refused by the client: {0}")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What several callers ran into together, such as the statement that loaded for all of them.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// Settings are missing or wrong; the message lists all of them.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
}

impl Error {
    /// What the server said, where the error is the server's.
    pub fn report(&self) -> Option<&ServerReport> {
        match self {
            Error::QueryTimeout(report)
            | Error::UniqueViolation(report)
            | Error::ForeignKeyViolation(report)
            | Error::CheckViolation(report)
            | Error::NotNullViolation(report)
            | Error::ExclusionViolation(report)
            | Error::SerializationFailure(report)
            | Error::Deadlock(report)
            | Error::LockTimeout(report)
            | Error::ReadOnly(report)
            | Error::WriteInRead(report)
            | Error::AdminShutdown(report)
            | Error::TooManyConnections(report)
            | Error::Server(report) => Some(report),
            Error::Connect(error) => error.report.as_ref(),
            Error::CommitUnknown(unknown) => unknown.cause.report(),
            Error::Shared(error) => error.report(),
            _ => None,
        }
    }

    /// The SQLSTATE, where it is known; [`ServerReport::evidence`] says how.
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.report().and_then(|report| report.code)
    }

    /// Whether it came up before the caller's work began, while a connection was looked for: no statement of
    /// the work's has run in that attempt.
    pub fn is_before_work(&self) -> bool {
        match self {
            Error::PoolTimeout { .. }
            | Error::PoolClosed { .. }
            | Error::QueueFull { .. }
            | Error::CircuitOpen(_)
            | Error::Connect(_)
            | Error::NoServer { .. } => true,
            Error::QueryTimeout(_)
            | Error::DeadlineExceeded { .. }
            | Error::UniqueViolation(_)
            | Error::ForeignKeyViolation(_)
            | Error::CheckViolation(_)
            | Error::NotNullViolation(_)
            | Error::ExclusionViolation(_)
            | Error::SerializationFailure(_)
            | Error::Deadlock(_)
            | Error::LockTimeout(_)
            | Error::ReadOnly(_)
            | Error::WriteInRead(_)
            | Error::AdminShutdown(_)
            | Error::TooManyConnections(_)
            | Error::Server(_)
            | Error::ConnectionLost { .. }
            | Error::TransactionEnded { .. }
            | Error::CommitUnknown(_)
            | Error::NotFound
            | Error::Value(_)
            | Error::Client(_)
            // It came up in the work: what the work waited for failed for others, too.
            | Error::Shared(_)
            | Error::Settings(_) => false,
        }
    }

    /// Whether the caller has waited for a connection for as long as it was willing to, or is turned away so
    /// that it need not wait: looking for one again would only multiply its wait.
    pub fn ends_the_wait(&self) -> bool {
        match self {
            Error::PoolTimeout { .. } | Error::CircuitOpen(_) | Error::NoServer { .. } => true,
            Error::Connect(error) => error.ends_the_wait,
            _ => false,
        }
    }

    /// The same failure as that of a read: a write in it is refused wherever it goes, so no other server
    /// would help.
    pub fn in_read(self) -> Error {
        match self {
            Error::ReadOnly(report) => Error::WriteInRead(report),
            error => error,
        }
    }

    /// The same failure with the server's last words: the code of the FATAL error with which it ended the
    /// session.
    ///
    /// A client library often learns no more than that the connection is closed.
    pub fn with_last_words(self, last_words: Option<SqlState>) -> Error {
        match (self, last_words) {
            (Error::ConnectionLost { reason }, Some(code)) => {
                let message = format!("{reason}; the server ended the session");
                Error::from_report(ServerReport::new(message, Some((code, Evidence::Server))))
            }
            (error, _) => error,
        }
    }

    /// The constraint that was violated, where the server named it.
    pub fn constraint(&self) -> Option<&str> {
        self.report().and_then(|report| report.constraint.as_deref())
    }

    /// The error that a server's report stands for.
    pub fn from_report(report: ServerReport) -> Error {
        let kind = match report.code {
            Some(SqlState::UNIQUE_VIOLATION) => Error::UniqueViolation,
            Some(SqlState::FOREIGN_KEY_VIOLATION) => Error::ForeignKeyViolation,
            Some(SqlState::CHECK_VIOLATION) => Error::CheckViolation,
            Some(SqlState::NOT_NULL_VIOLATION) => Error::NotNullViolation,
            Some(SqlState::EXCLUSION_VIOLATION) => Error::ExclusionViolation,
            Some(SqlState::SERIALIZATION_FAILURE) => Error::SerializationFailure,
            Some(SqlState::DEADLOCK_DETECTED) => Error::Deadlock,
            Some(SqlState::LOCK_NOT_AVAILABLE) => Error::LockTimeout,
            Some(SqlState::QUERY_CANCELED) => Error::QueryTimeout,
            Some(SqlState::READ_ONLY_SQL_TRANSACTION) => Error::ReadOnly,
            Some(SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW) => {
                Error::AdminShutdown
            }
            Some(SqlState::TOO_MANY_CONNECTIONS) => Error::TooManyConnections,
            _ => Error::Server,
        };
        kind(Box::new(report))
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Error::PoolTimeout { .. } | Error::QueueFull { .. } | Error::DeadlineExceeded { .. } => {
                Class::Overloaded
            }
            Error::ConnectionLost { .. } | Error::CircuitOpen(_) | Error::NoServer { .. } => {
                Class::Unavailable
            }
            Error::Connect(error) => error.failure.class(),
            Error::CommitUnknown(_) => Class::Unknown,
            Error::Shared(error) => error.class(),
            Error::PoolClosed { .. }
            | Error::WriteInRead(_)
            | Error::TransactionEnded { .. }
            | Error::NotFound
            | Error::Value(_)
            | Error::Client(_)
            | Error::Settings(_) => Class::Permanent,
            _ => self.sqlstate().map_or(Class::Permanent, |code| code.class()),
        }
    }

    fn code(&self) -> Option<SqlState> {
        self.sqlstate()
    }
}

/// Says who has held a connection for longest, where someone has.
struct OldestHolder<'a>(&'a Option<Box<Holder>>);

impl fmt::Display for OldestHolder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => write!(f, "; the oldest was {holder}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
