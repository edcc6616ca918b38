//! PostgreSQL's five-character error codes, and the class that each one has.
//!
//! Source: the PostgreSQL manual, appendix A. The code, not the message, decides: messages are translated.

use std::fmt;
use std::str::FromStr;

use crate::{Class, Classify};

/// A five-character SQLSTATE code, such as `23505`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SqlState([u8; 5]);

/// A text that is not a SQLSTATE: five digits or upper-case letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SQLSTATE: {0:?} (five digits or upper-case letters)")]
pub struct InvalidSqlState(String);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: SqlState = SqlState(*$code);)*
        }
    };
}

codes! {
    /// `08000` connection exception.
    CONNECTION_EXCEPTION = b"08000";
    /// `08006` connection failure.
    CONNECTION_FAILURE = b"08006";
    /// `22001` string data right truncation.
    STRING_DATA_RIGHT_TRUNCATION = b"22001";
    /// `22P02` invalid text representation.
    INVALID_TEXT_REPRESENTATION = b"22P02";
    /// `23502` not null violation.
    NOT_NULL_VIOLATION = b"23502";
    /// `23503` foreign key violation.
    FOREIGN_KEY_VIOLATION = b"23503";
    /// `23505` unique violation.
    UNIQUE_VIOLATION = b"23505";
    /// `23514` check violation.
    CHECK_VIOLATION = b"23514";
    /// `23P01` exclusion violation.
    EXCLUSION_VIOLATION = b"23P01";
    /// `25006` read only SQL transaction: the server is a standby, or the session is read-only.
    READ_ONLY_SQL_TRANSACTION = b"25006";
    /// `25P02` in failed SQL transaction: an earlier error was swallowed.
    IN_FAILED_SQL_TRANSACTION = b"25P02";
    /// `25P03` idle in transaction session timeout.
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = b"25P03";
    /// `25P04` transaction timeout (PostgreSQL 17 and later).
    TRANSACTION_TIMEOUT = b"25P04";
    /// `28000` invalid authorization specification: no such role, or pg_hba.conf refuses it.
    INVALID_AUTHORIZATION_SPECIFICATION = b"28000";
    /// `28P01` invalid password.
    INVALID_PASSWORD = b"28P01";
    /// `3D000` invalid catalog name: no such database.
    INVALID_CATALOG_NAME = b"3D000";
    /// `40001` serialization failure, and on a standby a recovery conflict.
    SERIALIZATION_FAILURE = b"40001";
    /// `40P01` deadlock detected.
    DEADLOCK_DETECTED = b"40P01";
    /// `42501` insufficient privilege.
    INSUFFICIENT_PRIVILEGE = b"42501";
    /// `42601` syntax error.
    SYNTAX_ERROR = b"42601";
    /// `42P09` ambiguous alias: a name that means two things.
    AMBIGUOUS_ALIAS = b"42P09";
    /// `42P01` undefined table.
    UNDEFINED_TABLE = b"42P01";
    /// `42P04` duplicate database.
    DUPLICATE_DATABASE = b"42P04";
    /// `53100` disk full.
    DISK_FULL = b"53100";
    /// `53200` out of memory.
    OUT_OF_MEMORY = b"53200";
    /// `53300` too many connections.
    TOO_MANY_CONNECTIONS = b"53300";
    /// `55006` object in use.
    OBJECT_IN_USE = b"55006";
    /// `55P03` lock not available: `lock_timeout`, or NOWAIT.
    LOCK_NOT_AVAILABLE = b"55P03";
    /// `57014` query cancelled: by `statement_timeout` or by request.
    QUERY_CANCELED = b"57014";
    /// `57P01` admin shutdown.
    ADMIN_SHUTDOWN = b"57P01";
    /// `57P02` crash shutdown.
    CRASH_SHUTDOWN = b"57P02";
    /// `57P03` cannot connect now: the server is starting, stopping or recovering.
    CANNOT_CONNECT_NOW = b"57P03";
    /// `57P05` idle session timeout.
    IDLE_SESSION_TIMEOUT = b"57P05";
}

impl SqlState {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        // The constructors admit ASCII only.
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }

    /// The first two characters: the manual's class of the code (`23` for integrity violations).
    pub fn category(&self) -> &str {
        &self.as_str()[..2]
    }
}

impl Classify for SqlState {
    fn class(&self) -> Class {
        match *self {
            SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED | SqlState::LOCK_NOT_AVAILABLE => {
                Class::Conflict
            }
            SqlState::QUERY_CANCELED | SqlState::TOO_MANY_CONNECTIONS => Class::Overloaded,
            SqlState::READ_ONLY_SQL_TRANSACTION
            | SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_SESSION_TIMEOUT => Class::Unavailable,
            // What took too long takes too long again: 25P03, 25P04 (PostgreSQL 17 and later).
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT | SqlState::TRANSACTION_TIMEOUT => Class::Permanent,
            code if code.category() == "08" => Class::Unavailable,
            code if code.category() == "53" => Class::Overloaded,
            _ => Class::Permanent,
        }
    }
}

impl FromStr for SqlState {
    type Err = InvalidSqlState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code: [u8; 5] = text.as_bytes().try_into().map_err(|_| InvalidSqlState(text.to_owned()))?;
        if code.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) {
            Ok(SqlState(code))
        } else {
            Err(InvalidSqlState(text.to_owned()))
        }
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, class: Class) {
        assert_eq!(code.parse::<SqlState>().unwrap().class(), class, "{code}");
    }

    #[test]
    fn every_code_of_the_design_has_its_class() {
        for code in ["40001", "40P01", "55P03"] {
            check(code, Class::Conflict);
        }
        for code in ["57014", "53300", "53200", "53100"] {
            check(code, Class::Overloaded);
        }
        for code in ["25006", "57P01", "57P02", "57P03", "08000", "08006", "08001"] {
            check(code, Class::Unavailable);
        }
        for code in ["22P02", "23505", "28P01", "42601", "25P02", "25P03", "25P04", "3D000"] {
            check(code, Class::Permanent);
        }
    }

    #[test]
    fn what_is_not_five_digits_or_capitals_is_refused() {
        for text in ["", "2350", "235055", "2350a", "2350 ", "23é5"] {
            assert!(text.parse::<SqlState>().is_err(), "{text:?}");
        }
    }
}
