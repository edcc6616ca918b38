//! What a load of many keys came to.

use std::collections::HashMap;

use db_core::{Error, Result};

use crate::load::ReadAt;
use crate::scope::Scope;

/// What a load of many keys came to. A key that is in neither map has no value, which is remembered for the
/// keyspace's `negative_ttl`.
///
/// ```
/// use db_cache::{LoadedMany, ReadAt};
///
/// let names = [(7, "Ada".to_owned())];
/// let loaded: LoadedMany<i64, String, std::io::Error> = LoadedMany::new(names, ReadAt::Primary(None));
/// assert!(loaded.values.contains_key(&7) && loaded.failed.is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct LoadedMany<K, V, E> {
    /// The values that there are.
    pub values: HashMap<K, V>,
    /// The keys that failed, where the others did not.
    pub failed: HashMap<K, E>,
    /// Where all of it was read.
    pub read_at: ReadAt,
    /// What it depended on: where that is another scope than the keys', the values are served and not kept.
    pub scope: Option<Scope>,
}

impl<K: Eq + std::hash::Hash, V, E> LoadedMany<K, V, E> {
    /// Values, and where they were read.
    pub fn new(values: impl IntoIterator<Item = (K, V)>, read_at: ReadAt) -> Self {
        let values = values.into_iter().collect();
        LoadedMany { values, failed: HashMap::new(), read_at, scope: None }
    }
}

impl<K: Eq + std::hash::Hash + Clone, V> LoadedMany<K, V, Error> {
    /// Rows of which each may have failed by itself, and where they were read: a key that is answered twice
    /// has failed.
    ///
    /// ```
    /// use db_cache::{LoadedMany, ReadAt};
    ///
    /// let rows = [(7, Ok("Ada")), (8, Ok("Bob")), (8, Ok("Eve"))];
    /// let loaded = LoadedMany::of_rows(rows, ReadAt::Primary(None));
    /// assert!(loaded.values.contains_key(&7) && loaded.failed.contains_key(&8));
    /// ```
    pub fn of_rows(rows: impl IntoIterator<Item = (K, Result<V>)>, read_at: ReadAt) -> Self {
        let mut loaded = LoadedMany { values: HashMap::new(), failed: HashMap::new(), read_at, scope: None };
        for (key, answer) in rows {
            match answer {
                Err(error) => {
                    loaded.failed.insert(key, error);
                }
                Ok(value) => {
                    if loaded.values.insert(key.clone(), value).is_some() {
                        let twice = "a key was answered twice: let the statement return one row a key";
                        loaded.failed.insert(key, Error::Client(twice.into()));
                    }
                }
            }
        }
        loaded
    }
}
