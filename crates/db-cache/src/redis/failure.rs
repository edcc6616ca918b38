//! Which failure a server's or a connection's error is.

use redis::{ErrorKind, RedisError, ServerError, Value};

use crate::tier_error::{TierError, TierFailure};

/// The failure that an error of the client is.
pub(super) fn of(error: &RedisError) -> TierError {
    if error.is_timeout() {
        return TierError::new(TierFailure::TimedOut, "no answer came from the server in time");
    }
    let failure = match error.code() {
        Some(code) => of_code(code, error.detail().unwrap_or_default()),
        None if error.is_io_error() || error.is_connection_dropped() => TierFailure::Unreachable,
        None => match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => TierFailure::Refused,
            // The answers can no longer be told apart.
            ErrorKind::Parse => TierFailure::Unreachable,
            _ => TierFailure::Refused,
        },
    };
    TierError::new(failure, error.to_string())
}

/// The failure that an answer is.
pub(super) fn of_answer(error: &ServerError) -> TierError {
    let details = error.details().unwrap_or_default();
    TierError::new(of_code(error.code(), details), format!("{} {details}", error.code()))
}

/// One answer, or the failure that it is.
pub(super) fn checked(answer: Value) -> Result<Value, TierError> {
    match answer {
        Value::ServerError(error) => Err(of_answer(&error)),
        answer => Ok(answer),
    }
}

/// An answer that does not fit the question.
pub(super) fn unexpected(to: &str) -> TierError {
    TierError::new(TierFailure::Refused, format!("the answer to {to} is not of the expected form"))
}

/// Whether the server does not know a script that was called by its hash.
pub(super) fn is_unknown_script(error: &TierError) -> bool {
    error.failure == TierFailure::Refused && error.what.starts_with("NOSCRIPT")
}

/// Whether another connection may do better than the one that it came over.
pub(super) fn is_of_the_connection(error: &TierError) -> bool {
    match error.failure {
        TierFailure::Unreachable => true,
        TierFailure::ReadOnly => error.what.starts_with("READONLY") || error.what.contains(IS_REPLICA),
        TierFailure::TimedOut | TierFailure::Full | TierFailure::NotReady | TierFailure::Refused => false,
    }
}

/// What WAIT says on a replica: it asks each time whether the server is still the primary.
const IS_REPLICA: &str = "WAIT cannot be used with replica";

fn of_code(code: &str, details: &str) -> TierFailure {
    match code {
        "OOM" => TierFailure::Full,
        "READONLY" | "MISCONF" | "NOREPLICAS" => TierFailure::ReadOnly,
        "ERR" if details.contains(IS_REPLICA) => TierFailure::ReadOnly,
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => TierFailure::NotReady,
        // The shard has gone elsewhere, or the server has changed its role: the next connection finds out.
        "MOVED" | "ASK" | "UNBLOCKED" => TierFailure::Unreachable,
        _ => TierFailure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_by_their_code() {
        let check = |code, details, expected| assert_eq!(of_code(code, details), expected, "{code}");
        check("OOM", "command not allowed when used memory > 'maxmemory'", TierFailure::Full);
        check("READONLY", "You can't write against a read only replica.", TierFailure::ReadOnly);
        check("MISCONF", "Redis is configured to save RDB snapshots", TierFailure::ReadOnly);
        check("ERR", "WAIT cannot be used with replica instances.", TierFailure::ReadOnly);
        check("LOADING", "Redis is loading the dataset in memory", TierFailure::NotReady);
        check("MOVED", "3999 127.0.0.1:6381", TierFailure::Unreachable);
        check("WRONGPASS", "invalid username-password pair", TierFailure::Refused);
        check("ERR", "unknown command", TierFailure::Refused);
    }
}
