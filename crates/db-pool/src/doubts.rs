//! Errors that a new connection might not have: after each the pool asks its connections whether they are
//! still as new.
//!
//! A table or a function that is not there may be there for sessions with the search path that ALTER ROLE
//! gave them since; a type that does not fit may have been made anew. Mostly such an error is an honest one:
//! so the same statement raises it again only after [`REMEMBERED`], and a connection that was asked since is
//! believed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A statement raises a doubt at most so often on connections that were asked.
const REMEMBERED: Duration = Duration::from_secs(1);
/// More statements that fail than this within that time are taken for wrong ones.
const MOST: usize = 1_000;

/// The doubts of one pool; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubts {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    raised: AtomicU64,
    /// By the hash of its text: the doubt that a statement raised last, and when.
    statements: Mutex<HashMap<u64, (u64, Instant)>>,
    hasher: RandomState,
}

impl Doubts {
    /// How many were raised: a connection that was opened or asked at this number is beyond them.
    pub(crate) fn raised(&self) -> u64 {
        self.inner.raised.load(Ordering::Acquire)
    }

    /// Whether the error of a statement is an honest one on a connection that is beyond so many doubts.
    pub(crate) fn is_answered(&self, text: &str, confirmed: u64) -> bool {
        let statements = self.inner.statements.lock().unwrap_or_else(PoisonError::into_inner);
        match statements.get(&self.inner.hasher.hash_one(text)) {
            Some((doubt, at)) => *doubt <= confirmed && at.elapsed() < REMEMBERED,
            None => statements.len() >= MOST && statements.values().all(|(_, at)| at.elapsed() < REMEMBERED),
        }
    }

    /// A statement failed as it might not on a new connection; the one that it ran on is beyond so many
    /// doubts.
    pub(crate) fn raise(&self, text: &str, confirmed: u64) {
        let mut statements = self.inner.statements.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = self.inner.hasher.hash_one(text);
        if statements.get(&hash).is_some_and(|(doubt, _)| *doubt > confirmed) {
            return;
        }
        if statements.len() >= MOST {
            statements.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        let doubt = self.inner.raised.fetch_add(1, Ordering::AcqRel) + 1;
        statements.insert(hash, (doubt, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_honest_once_the_connection_was_asked_since() {
        let doubts = Doubts::default();
        assert!(!doubts.is_answered("SELECT 1", 0));
        doubts.raise("SELECT 1", 0);
        assert_eq!(doubts.raised(), 1);
        assert!(!doubts.is_answered("SELECT 1", 0), "this one was not asked");
        assert!(doubts.is_answered("SELECT 1", 1));
        assert!(!doubts.is_answered("SELECT 2", 1), "another statement");
        doubts.raise("SELECT 1", 0);
        assert_eq!(doubts.raised(), 1, "of connections that fail alike the first has something to say");
        doubts.raise("SELECT 1", 1);
        assert_eq!(doubts.raised(), 2);
    }

    #[test]
    fn a_flood_of_wrong_statements_raises_no_more() {
        let doubts = Doubts::default();
        for number in 0..MOST as u64 {
            doubts.raise(&format!("SELECT {number}"), number);
        }
        assert!(doubts.is_answered("another", 0));
    }
}
