//! The seam for a cache: what answers a query's batches, and runs its statement for the rest.

use std::hash::Hash;

use db_core::Result;

use crate::batch::Batch;
use crate::found::Found;
use crate::statement::Statement;

/// Answers batches ahead of the database: a cache in front of a query's statement.
///
/// It has a whole batch at once, so that it can look for all keys in process, then for the others with one
/// multi-get, and run the statement once for the rest. It also chooses the connection: what may be kept
/// depends on which server answers, and when. It may run the statement in a task of its own, which goes on
/// when the batch is given up.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use db_core::{Acquire, Result};
/// use db_loader::{Ahead, Found, Statement};
///
/// /// Remembers every name for ever: enough where names never change.
/// struct Names<A> {
///     pool: A,
///     known: Mutex<HashMap<i32, String>>,
/// }
///
/// impl<A: Acquire + Send + 'static> Ahead<i32, String> for Names<A> {
///     async fn answer(&self, ids: Vec<i32>, names: Statement<i32, String>) -> Result<Found<i32, String>> {
///         let mut found = Found::new();
///         let rest: Vec<i32> = {
///             let known = self.known.lock().unwrap();
///             let is_new = |id: &i32| known.get(id).map(|name| found.insert(*id, name.clone())).is_none();
///             ids.into_iter().filter(is_new).collect()
///         };
///         if !rest.is_empty() {
///             let mut conn = self.pool.acquire_at(names.site()).await?;
///             let loaded = names.run(&mut conn, rest.clone()).await?;
///             let names = rest.iter().filter_map(|id| Some((*id, loaded.get(id)?.clone())));
///             self.known.lock().unwrap().extend(names);
///             found.merge(loaded);
///         }
///         Ok(found)
///     }
/// }
/// ```
pub trait Ahead<K, V>: Send + Sync + 'static {
    /// Answers `keys`, which are distinct and at least one: from what it knows, and the rest with
    /// `statement`. A key that the answer does not know does not exist.
    ///
    /// # Errors
    /// That the rest could not be loaded. A cache that fails is no error: then all keys are the rest.
    fn answer(
        &self,
        keys: Vec<K>,
        statement: Statement<K, V>,
    ) -> impl Future<Output = Result<Found<K, V>>> + Send;
}

/// The batch function of a query behind a cache.
pub(crate) struct Behind<K, V, A> {
    pub(crate) cache: A,
    pub(crate) statement: Statement<K, V>,
}

impl<K, V, A> Batch<K, V> for Behind<K, V, A>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + 'static,
    A: Ahead<K, V>,
{
    fn run(&self, keys: Vec<K>) -> impl Future<Output = Result<Found<K, V>>> + Send {
        self.cache.answer(keys, self.statement.of_this_batch())
    }
}
