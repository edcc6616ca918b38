//! A batch function: it is given the keys of many callers, and answers what it found.

use std::hash::Hash;
use std::pin::Pin;

use db_core::{Error, Result};

use crate::found::Found;

/// Loads a batch of keys. Closures are batch functions: `|keys: Vec<K>| async move { … }`.
///
/// The keys are distinct, and at least one. It may panic or hang: its own callers get an error, and the
/// loader goes on. A load that it asks other loaders for must be asked for in its own task: in a task that it
/// spawns, a load that waits for itself is ended by the timeout only.
///
/// ```
/// use std::collections::HashMap;
/// use db_core::Error;
/// use db_loader::Batch;
///
/// fn squares() -> impl Batch<u32, u32> {
///     |keys: Vec<u32>| async move { Ok::<_, Error>(keys.into_iter().map(|n| (n, n * n)).collect::<HashMap<_, _>>()) }
/// }
/// # let _ = squares();
/// ```
pub trait Batch<K, V>: Send + Sync + 'static {
    /// Loads these keys.
    ///
    /// # Errors
    /// One that all of them share; [`Found::insert_error`] is for one of a single key.
    fn run(&self, keys: Vec<K>) -> impl Future<Output = Result<Found<K, V>>> + Send;
}

impl<K, V, F, Fut, R, E> Batch<K, V> for F
where
    K: Eq + Hash + Send + 'static,
    V: Send + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send,
    R: Into<Found<K, V>>,
    E: Into<Error>,
{
    async fn run(&self, keys: Vec<K>) -> Result<Found<K, V>> {
        self(keys).await.map(Into::into).map_err(Into::into)
    }
}

/// What a batch function will have found.
type Finding<'a, K, V> = Pin<Box<dyn Future<Output = Result<Found<K, V>>> + Send + 'a>>;

/// A batch function whose type does not matter.
pub(crate) trait AnyBatch<K, V>: Send + Sync {
    fn run(&self, keys: Vec<K>) -> Finding<'_, K, V>;
}

impl<K: Send + 'static, V: Send + 'static, B: Batch<K, V>> AnyBatch<K, V> for B {
    fn run(&self, keys: Vec<K>) -> Finding<'_, K, V> {
        Box::pin(Batch::run(self, keys))
    }
}
