//! How an attempt ended, and what is known of that from what the server and the wire have said.

use db_core::{Class, Classify, Error, Facts, Opened, SqlState, TransactionStatus};

use crate::marker::Marker;
use crate::receipt::Receipt;
use crate::said::Said;

/// How an attempt ended.
pub(crate) enum Ended<T, E> {
    Committed(T),
    /// Nothing is left of it.
    Failed(Failed<E>),
    /// COMMIT was sent and its answer was lost.
    Lost(T, Lost),
    /// A batch was sent as one request and its answer was lost: there is nothing to find out with.
    LostBatch(Lost),
}

/// A failure, and what it means for the next attempt.
pub(crate) struct Failed<E> {
    pub(crate) error: E,
    pub(crate) class: Class,
    /// What the server said of it, where that is known.
    pub(crate) said: Said,
    /// Whether the server at the other end went away.
    pub(crate) gone: bool,
    /// Whether it was there, and another attempt would meet with the same.
    pub(crate) answered: bool,
}

impl<E> Failed<E> {
    /// A failure of ours, of which the server has said nothing.
    pub(crate) fn ours(error: E, class: Class, gone: bool) -> Self {
        Failed { error, class, said: Said::default(), gone, answered: false }
    }
}

/// A COMMIT whose answer was lost, and what there is to find out its outcome with.
pub(crate) struct Lost {
    pub(crate) cause: Error,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) marker: Option<Marker>,
    /// Why nobody needs to be asked: what there is to know is known, and it is not enough.
    pub(crate) unresolvable: Option<String>,
}

/// Whether two counts are known to differ: nothing follows from one that is not known.
pub(crate) fn differ(one: Option<u64>, other: Option<u64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Whether an error in answer to COMMIT leaves it open what became of it: connection, system and internal
/// errors.
pub(crate) fn is_doubtful(error: &Error) -> bool {
    error.sqlstate().is_none_or(|code| {
        matches!(code.category(), "08" | "58" | "XX") || matches!(code.as_str(), "57P01" | "57P02" | "57P03")
    })
}

/// Whether what was asked in the transaction may have reached the server: it is held back until BEGIN is
/// answered.
pub(crate) fn is_sent(now: &Facts) -> bool {
    matches!(now.begin, Opened::Apart | Opened::Begun)
}

/// Why the transaction is not the work's own any more, by what the wire has shown since BEGIN was answered.
pub(crate) fn ended_inside(begun: &Facts, now: &Facts) -> Option<&'static str> {
    if differ(now.commits, begun.commits) {
        Some("a COMMIT went by")
    } else if now.status == Some(TransactionStatus::Idle) && is_sent(now) {
        Some("a ROLLBACK or PREPARE TRANSACTION went by, and no transaction is open")
    } else {
        None
    }
}

/// The server was seen to be gone by somebody else: this connection may never notice.
pub(crate) fn went_down() -> Error {
    Error::ConnectionLost { reason: "its server went down".to_owned() }
}

/// The class of a failure, where the server may have said more than the caller's error lets on.
pub(crate) fn overruled(class: Class, said: Option<SqlState>) -> Class {
    match (said.map(|code| code.class()), class) {
        (Some(said @ (Class::Conflict | Class::Unavailable)), _) => said,
        // A write that was too slow once is too slow again.
        (_, Class::Overloaded) => Class::Permanent,
        (_, class) => class,
    }
}
