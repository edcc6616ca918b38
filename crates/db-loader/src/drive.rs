//! The task of a batch: waits until it closes, runs it, answers its callers, and goes on with the next.
//!
//! It belongs to no caller, so that none of them takes the others' batch with it when it goes. It ends when
//! there are no keys, so that an idle loader costs nothing.

use std::hash::Hash;
use std::mem;
use std::sync::Arc;
#[cfg(feature = "otel")]
use std::time::Instant;

use db_core::foreign;

use crate::counts::count;
use crate::error::LoadError;
use crate::flight::Outcome;
use crate::found::{Answer, Found};
use crate::nesting::{self, Running};
use crate::queue::{Entry, Queue};

/// What a task that gathers a batch owes: if it is dropped before the batch closes, those who wait are told.
pub(crate) struct Gathering<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    queue: Arc<Queue<K, V>>,
    is_closed: bool,
}

/// A batch that runs: if it is dropped, those who wait are told.
pub(crate) struct Underway<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    queue: Arc<Queue<K, V>>,
    batch: Arc<Running>,
    entries: Vec<Entry<K, V>>,
}

/// Drives the loader, from this batch on, in a task of its own.
///
/// # Panics
/// Outside a tokio runtime.
pub(crate) fn spawn<K, V>(gathering: Gathering<K, V>)
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    tokio::spawn(async move {
        let mut next = Some(gathering);
        while let Some(gathering) = next {
            next = match gathering.closed().await {
                Some(batch) => batch.run().await,
                None => None,
            };
        }
    });
}

impl<K, V> Gathering<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(queue: Arc<Queue<K, V>>) -> Self {
        Gathering { queue, is_closed: false }
    }

    async fn closed(mut self) -> Option<Underway<K, V>> {
        self.queue.drain.drained(|| self.queue.is_full()).await;
        self.is_closed = true;
        let mut entries = Vec::new();
        // A key's own code runs in it.
        match foreign::call(|| self.queue.close(&mut entries)) {
            Some(batch) => Some(Underway { queue: Arc::clone(&self.queue), batch: batch?, entries }),
            None => {
                let error = panicked(self.queue.name);
                self.queue.give_up(&error);
                entries.iter().for_each(|(_, flight)| flight.answer(Err(error.clone())));
                None
            }
        }
    }
}

impl<K, V> Drop for Gathering<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if !self.is_closed {
            self.queue.give_up(&LoadError::Ended { loader: self.queue.name });
        }
    }
}

impl<K, V> Underway<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    async fn run(mut self) -> Option<Gathering<K, V>> {
        let queue = Arc::clone(&self.queue);
        count(&queue.counters.keys, self.entries.len());
        #[cfg(feature = "otel")]
        let (keys, started) = (self.entries.len(), Instant::now());
        match self.load().await {
            Ok(found) => {
                count(&queue.counters.succeeded, 1);
                self.answer(found);
            }
            Err(error) => {
                let counter = match &error {
                    LoadError::Panicked { .. } => &queue.counters.panicked,
                    LoadError::TimedOut { .. } => &queue.counters.timed_out,
                    _ => &queue.counters.failed,
                };
                count(counter, 1);
                self.fail(&error);
            }
        }
        #[cfg(feature = "otel")]
        if let Some(instruments) = queue.counters.instruments.get() {
            instruments.record(keys, started.elapsed());
        }
        // What follows is counted here, and not once more when it is dropped.
        drop(self);
        queue.ended()
    }

    async fn load(&self) -> Result<Found<K, V>, LoadError> {
        let queue = &self.queue;
        let loader = queue.name;
        let keys = self.entries.iter().map(|(key, _)| key.clone()).collect();
        // The function is called in the future, so that it is caught too if it panics before it returns one.
        let load =
            foreign::run(nesting::within(Arc::clone(&self.batch), async { queue.batch.run(keys).await }));
        let loaded = match queue.config.timeout {
            Some(waited) => match tokio::time::timeout(waited, load).await {
                Ok(loaded) => loaded,
                Err(_) => return Err(LoadError::TimedOut { loader, waited }),
            },
            None => load.await,
        };
        match loaded {
            Some(found) => found.map_err(|error| LoadError::of_batch(Arc::new(error))),
            None => Err(panicked(loader)),
        }
    }

    fn answer(&mut self, mut found: Found<K, V>) {
        let (loader, counters) = (self.queue.name, &self.queue.counters);
        let outcome = |key: &K| match found.take(key) {
            Some(Answer::Value(value)) => Ok(Some(value)),
            Some(Answer::Twice) => Err(LoadError::Ambiguous { loader }),
            Some(Answer::Failed(error)) => Err(LoadError::of_batch(error)),
            Some(Answer::Missing) | None => Ok(None),
        };
        // A key's own code runs in it.
        let outcomes =
            foreign::call(|| self.entries.iter().map(|(key, _)| key).map(outcome).collect::<Vec<_>>());
        let Some(outcomes) = outcomes else {
            return self.fail(&panicked(loader));
        };
        count(&counters.missing, outcomes.iter().filter(|outcome| matches!(outcome, Ok(None))).count());
        count(&counters.unasked, found.len());
        self.deliver(outcomes);
    }

    fn fail(&mut self, error: &LoadError) {
        let outcomes = self.entries.iter().map(|_| Err(error.clone())).collect();
        self.deliver(outcomes);
    }

    fn deliver(&mut self, outcomes: Vec<Outcome<V>>) {
        let entries = mem::take(&mut self.entries);
        let both = entries.iter().zip(&outcomes).map(|((key, flight), outcome)| (key, flight, outcome));
        // A key's own code runs in it.
        if foreign::call(|| self.queue.settle(both)).is_none() {
            self.queue.unlist();
        }
        for ((_, flight), outcome) in entries.iter().zip(outcomes) {
            flight.answer(outcome);
        }
    }
}

impl<K, V> Drop for Underway<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        // Delivered: nothing is owed.
        if self.entries.is_empty() {
            return;
        }
        self.fail(&LoadError::Ended { loader: self.queue.name });
        // Without a runtime the next batch is dropped too, and tells those who wait for it.
        if let Some(next) = self.queue.ended()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            spawn(next);
        }
    }
}

fn panicked(loader: &'static str) -> LoadError {
    tracing::error!(loader, "a batch function panicked: its callers got an error, the loader goes on");
    LoadError::Panicked { loader }
}
