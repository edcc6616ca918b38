//! What a batch function answers: a value for each key, in any order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use db_core::{Error, Result};

#[cfg(feature = "diesel")]
use crate::error::LoadError;

/// What a batch function found. Most return what turns into it: a `HashMap<K, V>`, or a vector of pairs.
///
/// A key that is not in it was not found. A key that nobody asked for does no harm. A key that a vector holds
/// twice is an error for whoever asked for it: [`Found::grouped`] is for keys that have several rows.
///
/// ```
/// use db_loader::Found;
///
/// let comments = [(7, "first"), (9, "other"), (7, "second")];
/// let by_post: Found<i32, Vec<&str>> = Found::grouped(comments);
/// assert_eq!(by_post.get(&7), Some(&vec!["first", "second"]));
/// ```
#[derive(Debug)]
pub struct Found<K, V> {
    answers: HashMap<K, Answer<V>>,
}

/// What was found for one key.
#[derive(Debug)]
pub(crate) enum Answer<V> {
    Value(V),
    Missing,
    Twice,
    Failed(Arc<Error>),
}

impl<K: Eq + Hash, V> Found<K, V> {
    /// Nothing, so far.
    pub fn new() -> Self {
        Found { answers: HashMap::new() }
    }

    /// This key has this value. Said twice, it is an error for whoever asked for the key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.answers.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Answer::Value(value));
            }
            Entry::Occupied(mut entry) => {
                entry.insert(Answer::Twice);
            }
        }
    }

    /// This key is known not to exist, which an [`Ahead`](crate::Ahead) may know; a batch function leaves it
    /// out.
    pub fn insert_missing(&mut self, key: K) {
        self.answers.insert(key, Answer::Missing);
    }

    /// This key failed, and the others did not.
    pub fn insert_error(&mut self, key: K, error: impl Into<Error>) {
        self.answers.insert(key, Answer::Failed(Arc::new(error.into())));
    }

    /// The value that was found for this key, where there is exactly one.
    pub fn get(&self, key: &K) -> Option<&V> {
        match self.answers.get(key) {
            Some(Answer::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// Whether anything is known of this key: a value, that it does not exist, or that it failed.
    pub fn knows(&self, key: &K) -> bool {
        self.answers.contains_key(key)
    }

    /// How many keys something is known of.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Adds what `others` knows; where both know a key, `others` wins.
    pub fn merge(&mut self, others: Found<K, V>) {
        self.answers.extend(others.answers);
    }

    /// What is known of each key: its value, none where it does not exist, or why it failed.
    pub fn into_each(self) -> impl Iterator<Item = (K, Result<Option<V>>)> {
        self.answers.into_iter().map(|(key, answer)| {
            let answer = match answer {
                Answer::Value(value) => Ok(Some(value)),
                Answer::Missing => Ok(None),
                Answer::Twice => Err(Error::Client("a key was answered twice: group its rows".into())),
                Answer::Failed(error) => Err(Error::Shared(error)),
            };
            (key, answer)
        })
    }

    /// Makes an error of a key that is known twice, as whoever asked for it gets it.
    #[cfg(feature = "diesel")]
    pub(crate) fn fail_ambiguous(&mut self, loader: &'static str) {
        for answer in self.answers.values_mut().filter(|answer| matches!(answer, Answer::Twice)) {
            *answer = Answer::Failed(Arc::new(LoadError::Ambiguous { loader }.into()));
        }
    }

    pub(crate) fn take(&mut self, key: &K) -> Option<Answer<V>> {
        self.answers.remove(key)
    }
}

impl<K: Eq + Hash, V> Found<K, Vec<V>> {
    /// All rows of each key together, in the order in which they came.
    pub fn grouped(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut groups: HashMap<K, Vec<V>> = HashMap::new();
        for (key, row) in rows {
            groups.entry(key).or_default().push(row);
        }
        groups.into()
    }
}

impl<K: Eq + Hash, V> Default for Found<K, V> {
    fn default() -> Self {
        Found::new()
    }
}

impl<K: Eq + Hash, V> From<HashMap<K, V>> for Found<K, V> {
    fn from(values: HashMap<K, V>) -> Self {
        Found { answers: values.into_iter().map(|(key, value)| (key, Answer::Value(value))).collect() }
    }
}

impl<K: Eq + Hash, V> From<Vec<(K, V)>> for Found<K, V> {
    fn from(pairs: Vec<(K, V)>) -> Self {
        pairs.into_iter().collect()
    }
}

impl<K: Eq + Hash, V> FromIterator<(K, V)> for Found<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let mut found = Found { answers: HashMap::with_capacity(pairs.size_hint().0) };
        for (key, value) in pairs {
            found.insert(key, value);
        }
        found
    }
}
