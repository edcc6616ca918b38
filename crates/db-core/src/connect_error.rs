//! Why no connection could be opened: the error that says what to look at.

use std::fmt;
use std::time::Duration;

use crate::{Class, Classify, Endpoint, Error, ServerReport};

/// Why no connection could be opened, and to where.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectError {
    /// The server that was tried.
    pub endpoint: Endpoint,
    /// The database that was asked for.
    pub database: String,
    /// The user that was to log in.
    pub user: String,
    /// What went wrong.
    pub failure: ConnectFailure,
    /// How long it was tried.
    pub waited: Duration,
    /// Whether the caller has waited for as long as it was willing to: this is the last of several failures.
    pub ends_the_wait: bool,
    /// What the server said, where one answered.
    pub report: Option<ServerReport>,
    /// The cause in the words of whoever noticed it; never the connection string.
    pub reason: String,
}

impl ConnectError {
    /// An error about connecting to `endpoint` as `user` to `database`.
    pub fn new(
        endpoint: Endpoint,
        (user, database): (impl Into<String>, impl Into<String>),
        failure: ConnectFailure,
        waited: Duration,
        reason: impl Into<String>,
    ) -> Self {
        ConnectError {
            endpoint,
            database: database.into(),
            user: user.into(),
            failure,
            waited,
            ends_the_wait: false,
            report: None,
            reason: reason.into(),
        }
    }
}

/// What stands between us and a connection, as far as someone can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// Nothing listens there.
    Refused,
    /// The host name has no address.
    UnknownHost,
    /// Nothing answered within the time given.
    TimedOut,
    /// The server does not accept this user or password.
    Login,
    /// The password could not be had: where it is kept did not answer, or refused.
    PasswordSource,
    /// There is no such database.
    UnknownDatabase,
    /// The server has no place for another connection.
    TooManyConnections,
    /// The server is starting, stopping or recovering.
    NotReady,
    /// The server is not what `target_session_attrs` asks for.
    WrongRole,
    /// Encryption was asked for and is not to be had, or the certificate is not trusted.
    Tls,
    /// The options sent at start-up were refused.
    Options,
    /// Anything else: the reason says what.
    Other,
}

impl Classify for ConnectFailure {
    fn class(&self) -> Class {
        match self {
            ConnectFailure::Refused
            | ConnectFailure::UnknownHost
            | ConnectFailure::TimedOut
            | ConnectFailure::PasswordSource
            | ConnectFailure::NotReady
            | ConnectFailure::WrongRole
            | ConnectFailure::Other => Class::Unavailable,
            ConnectFailure::TooManyConnections => Class::Overloaded,
            ConnectFailure::Login
            | ConnectFailure::UnknownDatabase
            | ConnectFailure::Tls
            | ConnectFailure::Options => Class::Permanent,
        }
    }
}

impl std::error::Error for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectError { endpoint, database, user, waited, reason, .. } = self;
        write!(f, "no connection to {endpoint}: ")?;
        match self.failure {
            ConnectFailure::Refused => {
                write!(
                    f,
                    "{reason}; is PostgreSQL running there, and are host and port in DATABASE_URL right?"
                )
            }
            ConnectFailure::UnknownHost => write!(f, "{reason}; check the host name in DATABASE_URL"),
            ConnectFailure::TimedOut => write!(
                f,
                "no answer within {waited:?}; check the host and port, firewalls on the way, and DB_CONNECT_TIMEOUT"
            ),
            ConnectFailure::Login => {
                write!(f, "{reason}; check user {user:?}, its password, and pg_hba.conf on the server")
            }
            ConnectFailure::PasswordSource => {
                write!(f, "{reason}; see what Connector::with_password was given")
            }
            ConnectFailure::UnknownDatabase => {
                write!(f, "{reason}; create database {database:?} or correct the name in DATABASE_URL")
            }
            ConnectFailure::TooManyConnections => {
                write!(
                    f,
                    "{reason}; lower DB_POOL_MAX in some processes, or raise max_connections on the server, or the \
                     CONNECTION LIMIT of the role or the database"
                )
            }
            ConnectFailure::NotReady => write!(f, "{reason}; the server is starting, stopping or recovering"),
            ConnectFailure::Tls => {
                write!(f, "{reason}; check sslmode and the other ssl parameters in DATABASE_URL")
            }
            ConnectFailure::Options => write!(f, "{reason}; check options in DATABASE_URL"),
            ConnectFailure::WrongRole | ConnectFailure::Other => f.write_str(reason),
        }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Error::Connect(Box::new(error))
    }
}
