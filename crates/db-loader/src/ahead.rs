//! The seam for a cache: what is known without the batch function, and what it is told of the rest.

use std::hash::Hash;
use std::sync::Arc;

use db_core::{Result, foreign};

use crate::batch::Batch;
use crate::found::Found;

/// Knows some keys before the batch function is asked: a cache.
///
/// One batch looks once, for all of its keys: in process first, then with one multi-get. The batch function
/// is asked for the rest, and what it found is told. A cache that fails or panics answers nothing, and the
/// load goes on without it.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use db_core::Error;
/// use db_loader::{Ahead, Found, Loader, ahead};
///
/// #[derive(Default)]
/// struct Map(Mutex<HashMap<u32, String>>);
///
/// impl Ahead<u32, String> for Map {
///     type Ticket = ();
///     async fn look(&self, keys: &[u32]) -> (Found<u32, String>, ()) {
///         let map = self.0.lock().unwrap();
///         (keys.iter().filter_map(|key| Some((*key, map.get(key)?.clone()))).collect(), ())
///     }
///     async fn fill(&self, (): (), keys: &[u32], loaded: &Found<u32, String>) {
///         let mut map = self.0.lock().unwrap();
///         map.extend(keys.iter().filter_map(|key| Some((*key, loaded.get(key)?.clone()))));
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let names = |ids: Vec<u32>| async move {
///     Ok::<_, Error>(ids.into_iter().map(|id| (id, format!("name {id}"))).collect::<Vec<_>>())
/// };
/// let names = Loader::new("names", ahead(Map::default(), names));
/// assert_eq!(names.get(7).await.unwrap().as_deref(), Some("name 7"));
/// # });
/// ```
pub trait Ahead<K, V>: Send + Sync + 'static {
    /// What must be read before the load begins, so that a late fill cannot be a stale one: the generations
    /// of the keys' tags.
    type Ticket: Send;

    /// What is known of these keys: values, and keys that do not exist.
    fn look(&self, keys: &[K]) -> impl Future<Output = (Found<K, V>, Self::Ticket)> + Send;

    /// Is told what was loaded for `keys`, which are those that it did not know. One that `loaded` does not
    /// know does not exist; one that failed is neither.
    fn fill(&self, ticket: Self::Ticket, keys: &[K], loaded: &Found<K, V>)
    -> impl Future<Output = ()> + Send;
}

impl<K: Sync, V: Sync, A: Ahead<K, V>> Ahead<K, V> for Arc<A> {
    type Ticket = A::Ticket;

    fn look(&self, keys: &[K]) -> impl Future<Output = (Found<K, V>, Self::Ticket)> + Send {
        (**self).look(keys)
    }

    fn fill(
        &self,
        ticket: Self::Ticket,
        keys: &[K],
        loaded: &Found<K, V>,
    ) -> impl Future<Output = ()> + Send {
        (**self).fill(ticket, keys, loaded)
    }
}

/// A batch function that asks `cache` first, and `batch` for what it does not know.
pub fn ahead<K, V, A, B>(cache: A, batch: B) -> impl Batch<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    A: Ahead<K, V>,
    B: Batch<K, V>,
{
    Tiered { cache, batch }
}

struct Tiered<A, B> {
    cache: A,
    batch: B,
}

impl<K, V, A, B> Batch<K, V> for Tiered<A, B>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    A: Ahead<K, V>,
    B: Batch<K, V>,
{
    async fn run(&self, keys: Vec<K>) -> Result<Found<K, V>> {
        let Some((mut known, ticket)) = foreign::run(async { self.cache.look(&keys).await }).await else {
            tracing::error!("a loader's cache panicked: the batch goes on without it");
            return self.batch.run(keys).await;
        };
        let rest: Vec<K> = keys.into_iter().filter(|key| !known.knows(key)).collect();
        if rest.is_empty() {
            return Ok(known);
        }
        let loaded = self.batch.run(rest.clone()).await?;
        if foreign::run(async { self.cache.fill(ticket, &rest, &loaded).await }).await.is_none() {
            tracing::error!("a loader's cache panicked: what was loaded is not in it");
        }
        known.merge(loaded);
        Ok(known)
    }
}
