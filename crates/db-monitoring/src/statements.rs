//! Finds the statement that a text is an execution of.
//!
//! A text is looked up by a hash of its own, which takes some ten nanoseconds; only a text that is new is put
//! into its normal form. Texts themselves are not kept: they may hold constants.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock};

use db_statement::{Fingerprint, fingerprint};
use foldhash::{fast, quality};

use crate::statement::Statement;

/// So many parts does the table of texts have, so that few connections meet on one lock.
const PARTS: usize = 16;
/// The most texts of one part; beyond it the part begins anew, and those that are used come back.
const MOST_TEXTS: usize = 512;
/// The most statements that are told apart. Each takes 3 kB.
const MOST_STATEMENTS: usize = 2_000;

/// The statements that ran so far.
#[derive(Debug)]
pub(crate) struct Statements {
    hasher: quality::RandomState,
    texts: [RwLock<HashMap<u64, Arc<Statement>, fast::RandomState>>; PARTS],
    known: RwLock<HashMap<Fingerprint, Arc<Statement>>>,
    others: Arc<Statement>,
}

impl Default for Statements {
    fn default() -> Self {
        Statements {
            hasher: quality::RandomState::default(),
            texts: Default::default(),
            known: RwLock::default(),
            others: Arc::new(Statement::others()),
        }
    }
}

impl Statements {
    /// Does something with the statement that this text is an execution of: under a lock, so it must be
    /// short.
    pub(crate) fn with<T>(&self, text: &str, what: impl FnOnce(&Arc<Statement>) -> T) -> T {
        let hash = self.hasher.hash_one(text);
        let part = &self.texts[(hash >> 60) as usize % PARTS];
        if let Some(statement) = part.read().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return what(statement);
        }
        let statement = self.find(text);
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= MOST_TEXTS {
            part.clear();
        }
        what(part.entry(hash).or_insert(statement))
    }

    /// All that are known, the one that stands for others included.
    pub(crate) fn all(&self) -> Vec<Arc<Statement>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().chain([&self.others]).cloned().collect()
    }

    fn find(&self, text: &str) -> Arc<Statement> {
        let fingerprint = fingerprint(text);
        if let Some(found) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&fingerprint) {
            return Arc::clone(found);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_STATEMENTS && !known.contains_key(&fingerprint) {
            return Arc::clone(&self.others);
        }
        Arc::clone(known.entry(fingerprint).or_insert_with(|| Arc::new(Statement::of(text))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_make_no_statement_and_there_is_an_end_to_both_tables() {
        let statements = Statements::default();
        let found = |text: &str| statements.with(text, Arc::clone);
        for id in 0..10_000 {
            found(&format!("SELECT * FROM users WHERE id = {id}"));
        }
        assert_eq!(statements.all().len(), 2, "one, and the others");
        assert_eq!(&*found("select * from users where id=$1").text, "select * from users where id = ?");
        for table in 0..2 * MOST_STATEMENTS {
            found(&format!("SELECT * FROM t{table}"));
        }
        assert_eq!(statements.all().len(), MOST_STATEMENTS + 1);
        assert_eq!(found("SELECT * FROM one_more").fingerprint, Fingerprint::new(0));
        let texts: usize = statements.texts.iter().map(|part| part.read().unwrap().len()).sum();
        assert!(texts <= PARTS * MOST_TEXTS, "{texts}");
    }

    #[test]
    fn a_text_that_is_long_is_kept_in_part() {
        let long = format!("SELECT {} FROM t", vec!["\"Ä\""; 3_000].join(" + "));
        let text = Arc::clone(&Statement::of(&long).text);
        assert!(text.len() < 4_200 && text.ends_with(" …"), "{}", text.len());
    }
}
