//! Remembers which SQLSTATE each recent error of a server carried.
//!
//! diesel keeps everything that an error said except its code. Whoever reads the wire sees the whole error
//! before diesel does, and notes the code here under a hash of all the rest; the conversion from diesel's
//! error finds it again by that hash, in whichever task it runs (docs/decisions/0007). Nothing of the error's
//! text is kept.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::SqlState;

/// Codes that a generation holds before the one before it is forgotten.
const GENERATION: usize = 4_096;

static RECENT: LazyLock<Recent> = LazyLock::new(Recent::default);

/// What an error of the server's said besides its code: the fields that diesel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ErrorFields<'a> {
    /// The primary message (`M`).
    pub message: &'a str,
    /// The detail (`D`).
    pub detail: Option<&'a str>,
    /// What the server advises (`H`).
    pub hint: Option<&'a str>,
    /// The table that the error is about (`t`).
    pub table: Option<&'a str>,
    /// The column that the error is about (`c`).
    pub column: Option<&'a str>,
    /// The constraint that was violated (`n`).
    pub constraint: Option<&'a str>,
}

impl ErrorFields<'_> {
    /// Notes that an error which said this carried `code`.
    ///
    /// Called by whoever reads the wire, before the error reaches the client library. The last 4,096
    /// different errors of the process, at least, are remembered.
    pub fn note(&self, code: SqlState) {
        RECENT.note(self, code);
    }

    /// The code that an error carried which said this, if it came by lately.
    pub(crate) fn recall(&self) -> Option<SqlState> {
        RECENT.recall(self)
    }
}

#[derive(Default)]
struct Recent {
    hasher: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, SqlState>,
    old: HashMap<u64, SqlState>,
}

impl Recent {
    fn note(&self, fields: &ErrorFields<'_>, code: SqlState) {
        let key = self.hasher.hash_one(fields);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, code);
    }

    fn recall(&self, fields: &ErrorFields<'_>) -> Option<SqlState> {
        let key = self.hasher.hash_one(fields);
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.get(&key).or_else(|| generations.old.get(&key)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> ErrorFields<'_> {
        ErrorFields { message, ..ErrorFields::default() }
    }

    #[test]
    fn every_field_tells_errors_apart() {
        let recent = Recent::default();
        let one = ErrorFields { detail: Some("Key (id)=(1) exists"), ..said("duplicate") };
        recent.note(&one, SqlState::UNIQUE_VIOLATION);
        assert_eq!(recent.recall(&one), Some(SqlState::UNIQUE_VIOLATION));
        assert_eq!(recent.recall(&said("duplicate")), None);
        assert_eq!(recent.recall(&ErrorFields { hint: one.detail, ..said("duplicate") }), None);
    }

    #[test]
    fn the_newest_are_remembered_and_the_memory_is_bounded() {
        let recent = Recent::default();
        for number in 0..5 * GENERATION {
            recent.note(&said(&number.to_string()), SqlState::DEADLOCK_DETECTED);
        }
        for number in 4 * GENERATION..5 * GENERATION {
            assert!(recent.recall(&said(&number.to_string())).is_some(), "{number}");
        }
        assert_eq!(recent.recall(&said("0")), None);
        let generations = recent.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}
