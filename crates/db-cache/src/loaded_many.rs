//! What a load of many keys came to.

use std::collections::HashMap;

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
