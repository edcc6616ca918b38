//! Makes the platform's error from diesel's.
//!
//! diesel keeps no code. On a connection that came through the wire tap the code was noted as it went by
//! ([`ErrorFields`]) and is exact. Otherwise diesel's eight kinds name some codes, and the server's English
//! messages some more; the report says which it was ([`Evidence`]).

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

use crate::{Error, ErrorFields, Evidence, ServerReport, SqlState};

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(kind, information) => from_database(&kind, &*information),
            DieselError::NotFound => Error::NotFound,
            DieselError::DeserializationError(source) | DieselError::SerializationError(source) => {
                Error::Value(source)
            }
            DieselError::RollbackErrorOnCommit { commit_error, .. } => Error::from(*commit_error),
            DieselError::BrokenTransactionManager => {
                Error::ConnectionLost { reason: "the transaction was abandoned half-way".to_owned() }
            }
            other => Error::Client(Box::new(other)),
        }
    }
}

fn from_database(kind: &DatabaseErrorKind, information: &dyn DatabaseErrorInformation) -> Error {
    let message = information.message();
    let fields = ErrorFields {
        message,
        detail: information.details(),
        hint: information.hint(),
        table: information.table_name(),
        column: information.column_name(),
        constraint: information.constraint_name(),
    };
    let exact = fields.recall().map(|code| (code, Evidence::Server));
    if exact.is_none() && (lost_by_kind(kind) || lost_by_message(message)) {
        return Error::ConnectionLost { reason: message.to_owned() };
    }
    let code = exact
        .or_else(|| code_of_kind(kind).map(|code| (code, Evidence::Kind)))
        .or_else(|| code_of_message(message).map(|code| (code, Evidence::Message)));
    let mut report = ServerReport::new(message, code);
    report.detail = fields.detail.map(str::to_owned);
    report.hint = fields.hint.map(str::to_owned);
    report.table = fields.table.map(str::to_owned);
    report.column = fields.column.map(str::to_owned);
    report.constraint = fields.constraint.map(str::to_owned);
    report.position = information.statement_position().and_then(|position| usize::try_from(position).ok());
    Error::from_report(report)
}

fn lost_by_kind(kind: &DatabaseErrorKind) -> bool {
    matches!(kind, DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection)
}

/// tokio-postgres tells a lost connection by its own English words only.
fn lost_by_message(message: &str) -> bool {
    message == "connection closed" || message.starts_with("error communicating with the server")
}

fn code_of_kind(kind: &DatabaseErrorKind) -> Option<SqlState> {
    Some(match kind {
        DatabaseErrorKind::UniqueViolation => SqlState::UNIQUE_VIOLATION,
        DatabaseErrorKind::ForeignKeyViolation => SqlState::FOREIGN_KEY_VIOLATION,
        DatabaseErrorKind::CheckViolation => SqlState::CHECK_VIOLATION,
        DatabaseErrorKind::NotNullViolation => SqlState::NOT_NULL_VIOLATION,
        DatabaseErrorKind::SerializationFailure => SqlState::SERIALIZATION_FAILURE,
        DatabaseErrorKind::ReadOnlyTransaction => SqlState::READ_ONLY_SQL_TRANSACTION,
        _ => return None,
    })
}

/// Messages as PostgreSQL's sources spell them in English; stable since PostgreSQL 9.
fn code_of_message(message: &str) -> Option<SqlState> {
    const BY_START: &[(&str, SqlState)] = &[
        ("deadlock detected", SqlState::DEADLOCK_DETECTED),
        ("canceling statement due to lock timeout", SqlState::LOCK_NOT_AVAILABLE),
        ("could not obtain lock on", SqlState::LOCK_NOT_AVAILABLE),
        ("canceling statement due to conflict with recovery", SqlState::SERIALIZATION_FAILURE),
        ("terminating connection due to conflict with recovery", SqlState::SERIALIZATION_FAILURE),
        ("canceling statement due to", SqlState::QUERY_CANCELED),
        ("terminating connection because of crash", SqlState::CRASH_SHUTDOWN),
        ("terminating connection due to idle-in-transaction", SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT),
        ("terminating connection due to idle-session", SqlState::IDLE_SESSION_TIMEOUT),
        // After a crash of the postmaster each backend says so in other words; the code is the same.
        ("terminating connection", SqlState::ADMIN_SHUTDOWN),
        ("the database system is", SqlState::CANNOT_CONNECT_NOW),
        ("sorry, too many clients already", SqlState::TOO_MANY_CONNECTIONS),
        ("remaining connection slots are reserved", SqlState::TOO_MANY_CONNECTIONS),
        ("too many connections for", SqlState::TOO_MANY_CONNECTIONS),
        ("current transaction is aborted", SqlState::IN_FAILED_SQL_TRANSACTION),
        ("conflicting key value violates exclusion constraint", SqlState::EXCLUSION_VIOLATION),
        ("permission denied", SqlState::INSUFFICIENT_PRIVILEGE),
        ("syntax error at", SqlState::SYNTAX_ERROR),
    ];
    BY_START.iter().find(|(start, _)| message.starts_with(start)).map(|&(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Classify};

    #[track_caller]
    fn check(message: &str, code: &str, class: Class) {
        let error =
            Error::from(DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(message.to_owned())));
        assert_eq!(
            (error.sqlstate().map(|code| code.to_string()).as_deref(), error.class()),
            (Some(code), class)
        );
    }

    #[test]
    fn the_servers_english_words_have_their_code() {
        check("deadlock detected", "40P01", Class::Conflict);
        check("canceling statement due to conflict with recovery", "40001", Class::Conflict);
        check("canceling statement due to lock timeout", "55P03", Class::Conflict);
        check("canceling statement due to statement timeout", "57014", Class::Overloaded);
        check("terminating connection due to administrator command", "57P01", Class::Unavailable);
        check("terminating connection due to unexpected postmaster exit", "57P01", Class::Unavailable);
        check("terminating connection due to conflict with recovery", "40001", Class::Conflict);
        check("terminating connection due to idle-in-transaction timeout", "25P03", Class::Permanent);
        check("the database system is starting up", "57P03", Class::Unavailable);
        check("sorry, too many clients already", "53300", Class::Overloaded);
    }

    #[test]
    fn a_lost_connection_is_no_error_of_the_servers() {
        let error =
            DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, Box::new("gone".to_owned()));
        assert!(matches!(Error::from(error), Error::ConnectionLost { .. }));
    }
}
