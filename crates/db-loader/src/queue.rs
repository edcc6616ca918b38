//! The keys of one loader: queued, being loaded, remembered; and how many of its batches run.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::AnyBatch;
use crate::config::LoaderConfig;
use crate::counts::{Counters, count};
use crate::drain::Drain;
use crate::drive::{self, Gathering};
use crate::error::LoadError;
use crate::flight::{Flight, Outcome};
use crate::memo::{Memo, Version};
use crate::nesting::{Place, Resource, Running};

/// A key with those who wait for it.
pub(crate) type Entry<K, V> = (K, Arc<Flight<V>>);

pub(crate) struct Queue<K, V> {
    pub(crate) name: &'static str,
    pub(crate) config: LoaderConfig,
    pub(crate) batch: Arc<dyn AnyBatch<K, V>>,
    pub(crate) counters: Arc<Counters>,
    /// The only connection that its batches may run on, where there is only one.
    pub(crate) resource: Option<Arc<Resource>>,
    pub(crate) drain: Drain,
    pub(crate) memo: Memo,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    /// Queued, being loaded, or remembered. A key whose memo was cleared may be loaded without being here.
    flights: HashMap<K, Arc<Flight<V>>>,
    queued: VecDeque<Entry<K, V>>,
    /// Whether a task waits for the batch to close.
    is_gathering: bool,
    /// Batches that run, but for those that wait for loads of their own.
    running: usize,
    /// What is remembered was loaded at this version or later.
    version: u64,
}

/// What became of a key that was asked for.
pub(crate) struct Asked<V> {
    pub(crate) flight: Arc<Flight<V>>,
    /// Whether it opened a batch.
    pub(crate) is_first: bool,
}

impl<K, V> Queue<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(
        name: &'static str,
        config: LoaderConfig,
        batch: Arc<dyn AnyBatch<K, V>>,
        counters: Arc<Counters>,
        resource: Option<Arc<Resource>>,
        memo: Memo,
    ) -> Arc<Self> {
        let state = State {
            flights: HashMap::new(),
            queued: VecDeque::new(),
            is_gathering: false,
            running: 0,
            version: memo.version(),
        };
        Arc::new(Queue {
            name,
            config,
            batch,
            counters,
            resource,
            drain: Drain::default(),
            memo,
            state: Mutex::new(state),
        })
    }

    /// A queue with the same batch function that remembers for a request.
    pub(crate) fn remembering(&self, version: Option<Version>) -> Arc<Self> {
        let (batch, counters) = (Arc::clone(&self.batch), Arc::clone(&self.counters));
        let memo = Memo { keys: self.config.memo_keys, version };
        Queue::new(self.name, self.config.clone(), batch, counters, self.resource.clone(), memo)
    }

    pub(crate) fn ask(self: &Arc<Self>, key: K) -> Asked<V> {
        count(&self.counters.loads, 1);
        let mut state = self.state_now();
        if let Some(flight) = state.flights.get(&key) {
            let flight = Arc::clone(flight);
            drop(state);
            let counter =
                if flight.is_answered() { &self.counters.remembered } else { &self.counters.joined };
            count(counter, 1);
            return Asked { flight, is_first: false };
        }
        let flight = Flight::queued();
        state.flights.insert(key.clone(), Arc::clone(&flight));
        state.queued.push_back((key, Arc::clone(&flight)));
        self.drain.key_came();
        let gathering = self.gather(&mut state);
        drop(state);
        let is_first = gathering.is_some();
        if let Some(gathering) = gathering {
            self.drain.opened();
            drive::spawn(gathering);
        }
        Asked { flight, is_first }
    }

    /// The key is to be loaded anew by whoever asks from now on.
    pub(crate) fn clear(&self, key: &K) {
        let mut state = self.state();
        // What is only queued will be read later, and sees all that is written before this call.
        if state.flights.get(key).is_some_and(|flight| flight.may_be_stale()) {
            state.flights.remove(key);
        }
    }

    pub(crate) fn clear_all(&self) {
        self.state().forget();
    }

    pub(crate) fn prime(&self, key: K, value: Option<V>) {
        let mut state = self.state_now();
        match state.flights.get(&key) {
            // Queued: whoever waits gets the value now.
            Some(flight) if !flight.may_be_stale() => {
                let flight = Arc::clone(flight);
                if self.memo.keys == 0 {
                    state.flights.remove(&key);
                }
                drop(state);
                flight.answer(Ok(value));
            }
            known => {
                if known.is_some() || state.flights.len() < self.memo.keys {
                    state.flights.insert(key, Flight::known(value));
                }
            }
        }
    }

    /// Whether the next batch has all the keys that it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.state().queued.len() >= self.config.max_batch.get()
    }

    /// Begins to gather a batch, where there are keys, nobody gathers yet, and one more may run.
    fn gather(self: &Arc<Self>, state: &mut State<K, V>) -> Option<Gathering<K, V>> {
        let may = !state.queued.is_empty()
            && !state.is_gathering
            && state.running < self.config.max_concurrent.get();
        may.then(|| {
            state.is_gathering = true;
            Gathering::new(Arc::clone(self))
        })
    }

    /// Closes the batch that is gathered into `entries`, and begins to gather the next one where keys are
    /// left.
    ///
    /// None where nobody waits any more.
    pub(crate) fn close(self: &Arc<Self>, entries: &mut Vec<Entry<K, V>>) -> Option<Arc<Running>> {
        let mut state = self.state();
        let place: Arc<dyn Place> = Arc::clone(self) as Arc<dyn Place>;
        let batch = Running::new(self.name, Some(Arc::downgrade(&place)));
        while entries.len() < self.config.max_batch.get() {
            let Some((key, flight)) = state.queued.front() else { break };
            let is_listed = state.flights.get(key).is_some_and(|listed| Arc::ptr_eq(listed, flight));
            // Nobody can come to wait while the queue is locked.
            let is_abandoned = Arc::strong_count(flight) == 1 + usize::from(is_listed);
            let is_answered = flight.is_answered();
            let Some((key, flight)) = state.queued.pop_front() else { break };
            if is_answered {
                continue;
            }
            if is_abandoned {
                if is_listed {
                    state.flights.remove(&key);
                }
                count(&self.counters.abandoned, 1);
                continue;
            }
            flight.start(&batch);
            entries.push((key, flight));
        }
        state.is_gathering = false;
        if entries.is_empty() {
            return None;
        }
        state.running += 1;
        let next = self.gather(&mut state);
        drop(state);
        if let Some(next) = next {
            drive::spawn(next);
        }
        Some(batch)
    }

    /// Strikes what a batch has loaded from the list, but for what is remembered.
    pub(crate) fn settle<'a>(
        &self,
        loaded: impl Iterator<Item = (&'a K, &'a Arc<Flight<V>>, &'a Outcome<V>)>,
    ) {
        let mut state = self.state();
        for (key, flight, outcome) in loaded {
            let is_listed = state.flights.get(key).is_some_and(|listed| Arc::ptr_eq(listed, flight));
            if is_listed && (outcome.is_err() || state.flights.len() > self.memo.keys) {
                state.flights.remove(key);
            }
        }
    }

    /// Strikes everything from the list, without a look at the keys.
    pub(crate) fn unlist(&self) {
        self.state().flights.clear();
    }

    /// A batch has ended; gathers the next one where keys wait for it.
    pub(crate) fn ended(self: &Arc<Self>) -> Option<Gathering<K, V>> {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        self.gather(&mut state)
    }

    /// Nobody will gather: those who wait are told why. What is remembered goes with them.
    pub(crate) fn give_up(&self, error: &LoadError) {
        let mut state = self.state();
        state.is_gathering = false;
        let queued = std::mem::take(&mut state.queued);
        state.flights.clear();
        drop(state);
        for (_, flight) in queued {
            flight.answer(Err(error.clone()));
        }
    }

    /// The state without what was loaded before the last write.
    fn state_now(&self) -> MutexGuard<'_, State<K, V>> {
        // Before the lock is taken: it is the caller's code.
        let version = self.memo.version();
        let mut state = self.state();
        if version > state.version {
            state.version = version;
            state.forget();
        }
        state
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> State<K, V> {
    /// Whatever may be older than a write that is made now is loaded anew.
    fn forget(&mut self) {
        self.flights.retain(|_, flight| !flight.may_be_stale());
    }
}

impl<K, V> Place for Queue<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn leave(self: Arc<Self>) {
        if let Some(next) = self.ended() {
            drive::spawn(next);
        }
    }

    fn enter(&self) {
        self.state().running += 1;
    }
}
