//! The handle that callers ask for one key at a time.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use db_core::Measure;

use crate::batch::Batch;
use crate::config::LoaderConfig;
use crate::counts::{Counters, LoadCounts};
use crate::drain;
use crate::error::LoadError;
use crate::flight::{Flight, Outcome};
use crate::memo::Memo;
use crate::nesting::{self, Awaited, Resource, Running};
use crate::queue::{Asked, Queue};

/// Loads what many callers ask for one by one in a few batches. Cheap to clone; clones are one loader.
///
/// ```
/// use db_core::Error;
/// use db_loader::Loader;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let squares = Loader::new("squares", |keys: Vec<u32>| async move {
///     Ok::<_, Error>(keys.into_iter().map(|n| (n, n * n)).collect::<Vec<_>>())
/// });
/// let (three, four) = tokio::join!(squares.get(3), squares.get(4));
/// assert_eq!((three.unwrap(), four.unwrap()), (Some(9), Some(16)));
/// assert_eq!(squares.counts().batches(), 1);
/// # });
/// ```
///
/// This one remembers nothing: a value is shared by those who wait for it at the same time, and gone. A
/// [scope](Loader::scope) of it remembers what it loaded.
pub struct Loader<K, V> {
    pub(crate) queue: Arc<Queue<K, V>>,
}

impl<K, V> Loader<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A loader of this name, which its metrics and errors carry, with the defaults of [`LoaderConfig`].
    pub fn new(name: &'static str, batch: impl Batch<K, V>) -> Self {
        Self::with(name, LoaderConfig::default(), batch)
    }

    /// A loader that is configured.
    pub fn with(name: &'static str, config: LoaderConfig, batch: impl Batch<K, V>) -> Self {
        Self::on_resource(name, config, batch, Arc::default(), None)
    }

    pub(crate) fn on_resource(
        name: &'static str,
        config: LoaderConfig,
        batch: impl Batch<K, V>,
        counters: Arc<Counters>,
        resource: Option<Arc<Resource>>,
    ) -> Self {
        Loader { queue: Queue::new(name, config, Arc::new(batch), counters, resource, Memo::default()) }
    }

    /// A loader for one request or job: with the same batch function and the same metrics, and with a queue
    /// and a memo of its own.
    ///
    /// It loads each key once, and remembers that a key does not exist, but no error. What it remembers is as
    /// old as the load was: after a write, [`clear`](Loader::clear) or [`prime`](Loader::prime) the keys that
    /// it changed, or end the scope. A scope must not outlive its request.
    pub fn scope(&self) -> Self {
        Loader { queue: self.queue.remembering(self.queue.memo.version.clone()) }
    }

    /// As [`Loader::scope`], and forgets by itself whenever `version` has gone up: a number that goes up with
    /// each write which the request makes, such as a count of its commits.
    ///
    /// It is asked at each [`get`](Loader::get), so it must be quick.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use db_core::Error;
    /// use db_loader::Loader;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let squares = Loader::new("squares", |keys: Vec<u32>| async move {
    ///     Ok::<_, Error>(keys.into_iter().map(|n| (n, n * n)).collect::<Vec<_>>())
    /// });
    /// let writes = Arc::new(AtomicU64::new(0));
    /// let counted = Arc::clone(&writes);
    /// let request = squares.scope_while(move || counted.load(Ordering::Acquire));
    /// request.get(3).await.unwrap();
    /// request.get(3).await.unwrap();
    /// assert_eq!(squares.counts().keys, 1);
    ///
    /// writes.fetch_add(1, Ordering::Release);
    /// request.get(3).await.unwrap();
    /// assert_eq!(squares.counts().keys, 2);
    /// # });
    /// ```
    pub fn scope_while(&self, version: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Loader { queue: self.queue.remembering(Some(Arc::new(version))) }
    }

    /// The value of a key; none where the batch function did not find it.
    ///
    /// The key joins the batch that is being gathered. That closes when everybody who is ready to ask has
    /// asked.
    ///
    /// # Errors
    /// What the batch function said, to everybody in the batch; else as [`LoadError`] lists.
    ///
    /// # Panics
    /// Outside a tokio runtime, and on one without timers.
    ///
    /// # Cancel safety
    /// Dropping the future harms nobody. The key is not loaded if nobody waits for it when the batch closes.
    pub async fn get(&self, key: K) -> Result<Option<V>, LoadError> {
        let asked = self.queue.ask(key);
        self.outcome(asked).await
    }

    /// The values of several keys, in their order, each with a result of its own.
    ///
    /// # Panics
    /// As [`Loader::get`].
    ///
    /// # Cancel safety
    /// As [`Loader::get`].
    pub async fn get_many(&self, keys: impl IntoIterator<Item = K>) -> Vec<Result<Option<V>, LoadError>> {
        let asked: Vec<_> = keys.into_iter().map(|key| self.queue.ask(key)).collect();
        let mut outcomes = Vec::with_capacity(asked.len());
        for asked in asked {
            outcomes.push(self.outcome(asked).await);
        }
        outcomes
    }

    /// Forgets what is remembered of a key. Call it after a write that was committed.
    ///
    /// A load that is under way may have read the row before the write: those who wait for it get what it
    /// read, and it is not remembered. Whoever asks after this call loads anew.
    pub fn clear(&self, key: &K) {
        self.queue.clear(key);
    }

    /// Forgets everything that is remembered, as [`Loader::clear`] does for one key.
    pub fn clear_all(&self) {
        self.queue.clear_all();
    }

    /// Remembers a value that the caller knows, such as the row that a write returned; none is a key that
    /// does not exist.
    ///
    /// It takes the place of what was remembered, and of a load that is under way. A loader that is no
    /// [scope](Loader::scope) remembers nothing.
    pub fn prime(&self, key: K, value: impl Into<Option<V>>) {
        self.queue.prime(key, value.into());
    }

    /// What this loader and all of its scopes have done so far.
    pub fn counts(&self) -> LoadCounts {
        self.queue.counters.read()
    }

    /// The same as figures, for a part's metrics.
    pub fn measures(&self) -> Vec<Measure> {
        self.counts().measures(self.queue.name)
    }

    /// Reports to `meter` what this loader and all of its scopes do, from now on, under its name. Later calls
    /// do nothing.
    #[cfg(feature = "otel")]
    pub fn observe_with(&self, meter: &opentelemetry::metrics::Meter) {
        crate::metrics::observe(meter, self.name(), &self.queue.counters);
    }

    /// The loader's name.
    pub fn name(&self) -> &'static str {
        self.queue.name
    }

    async fn outcome(&self, asked: Asked<V>) -> Outcome<V> {
        let Asked { flight, is_first } = asked;
        let first = is_first.then(|| drain::first_turn(&self.queue.drain));
        if let Some(known) = flight.outcome.get() {
            return known.clone();
        }
        let key = || {
            Arc::new(Key { queue: Arc::clone(&self.queue), flight: Arc::clone(&flight) }) as Arc<dyn Awaited>
        };
        let _waiting = nesting::wait_for(key).map_err(|path| LoadError::Cycle { path })?;
        if let Some(first) = first {
            first.await;
        }
        flight.outcome.wait().await.clone()
    }
}

impl<K, V> Clone for Loader<K, V> {
    fn clone(&self) -> Self {
        Loader { queue: Arc::clone(&self.queue) }
    }
}

impl<K, V> fmt::Debug for Loader<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("name", &self.queue.name).finish_non_exhaustive()
    }
}

/// A key that a batch function waits for.
struct Key<K, V> {
    queue: Arc<Queue<K, V>>,
    flight: Arc<Flight<V>>,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Awaited for Key<K, V> {
    fn name(&self) -> &'static str {
        self.queue.name
    }

    fn batch(&self) -> Option<Arc<Running>> {
        self.flight.batch().map(Arc::clone)
    }

    fn holder(&self) -> Option<Arc<Running>> {
        self.queue.resource.as_ref().and_then(|resource| resource.holder())
    }
}
