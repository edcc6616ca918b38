//! Loads inside batch functions: a load that would wait for itself is an error and no hang.
//!
//! It is the wait-for graph of a database's deadlock detector (Elmagarmid, 1986), searched when a wait
//! begins. The edge is added before the search, so of two waits that close a circle at the same moment at
//! least one sees the other.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

tokio::task_local! {
    /// The batch that this task runs.
    static CURRENT: Arc<Running>;
}

/// A batch that runs, or whoever else holds a connection that batches need.
pub(crate) struct Running {
    name: &'static str,
    waits: Mutex<Waits>,
    place: Option<Weak<dyn Place>>,
}

#[derive(Default)]
struct Waits {
    begun: u64,
    now: HashMap<u64, Arc<dyn Awaited>>,
}

/// Where running batches are counted.
pub(crate) trait Place: Send + Sync {
    /// One of them waits for a load of its own: it is not counted meanwhile, so another one may run.
    fn leave(self: Arc<Self>);

    /// It goes on.
    fn enter(&self);
}

/// A key that is waited for.
pub(crate) trait Awaited: Send + Sync {
    /// The name of its loader.
    fn name(&self) -> &'static str;

    /// The batch that loads it; none while it is queued.
    fn batch(&self) -> Option<Arc<Running>>;

    /// Who holds the only connection that its batch may run on.
    fn holder(&self) -> Option<Arc<Running>>;
}

/// The only connection that some loaders have.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    holder: Mutex<Option<Arc<Running>>>,
}

impl Running {
    pub(crate) fn new(name: &'static str, place: Option<Weak<dyn Place>>) -> Arc<Self> {
        Arc::new(Running { name, waits: Mutex::default(), place })
    }

    fn place(&self) -> Option<Arc<dyn Place>> {
        self.place.as_ref().and_then(Weak::upgrade)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Runs `work` as part of this batch.
pub(crate) async fn within<F: Future>(batch: Arc<Running>, work: F) -> F::Output {
    CURRENT.scope(batch, work).await
}

/// The batch that this task runs, where it runs one.
pub(crate) fn current() -> Option<Arc<Running>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The batch that this task runs begins to wait for a key, until the value is dropped.
///
/// # Errors
/// The way round, where the wait would never end.
pub(crate) fn wait_for(key: impl FnOnce() -> Arc<dyn Awaited>) -> Result<Option<Waiting>, Arc<str>> {
    let Some(waiter) = current() else { return Ok(None) };
    let key = key();
    let (number, is_first) = {
        let mut waits = lock(&waiter.waits);
        waits.begun += 1;
        let number = waits.begun;
        waits.now.insert(number, Arc::clone(&key));
        (number, waits.now.len() == 1)
    };
    let place = waiter.place();
    if is_first && let Some(place) = &place {
        Arc::clone(place).leave();
    }
    let waiting = Waiting { waiter, number };
    let mut search =
        Search { sought: &waiting.waiter, seen: HashSet::new(), way: vec![waiting.waiter.name.to_owned()] };
    if search.leads_back(&*key) {
        return Err(search.way.join(" -> ").into());
    }
    Ok(Some(waiting))
}

/// A batch that waits for a key; dropping it ends the wait.
pub(crate) struct Waiting {
    waiter: Arc<Running>,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let is_last = {
            let mut waits = lock(&self.waiter.waits);
            let ended = waits.now.remove(&self.number);
            drop(ended);
            waits.now.is_empty()
        };
        if is_last && let Some(place) = self.waiter.place() {
            place.enter();
        }
    }
}

struct Search<'a> {
    sought: &'a Arc<Running>,
    seen: HashSet<*const Running>,
    way: Vec<String>,
}

impl Search<'_> {
    fn leads_back(&mut self, key: &dyn Awaited) -> bool {
        let holder = key.holder().map(|holder| {
            let at = format!("{} -> the connection that {} holds", key.name(), holder.name);
            (at, holder)
        });
        let batch = key.batch().map(|batch| (batch.name.to_owned(), batch));
        for (name, next) in [batch, holder].into_iter().flatten() {
            self.way.push(name);
            if Arc::ptr_eq(&next, self.sought) {
                return true;
            }
            if self.seen.insert(Arc::as_ptr(&next)) {
                let keys: Vec<_> = lock(&next.waits).now.values().cloned().collect();
                if keys.iter().any(|key| self.leads_back(&**key)) {
                    return true;
                }
            }
            self.way.pop();
        }
        false
    }
}

impl Resource {
    pub(crate) fn holder(&self) -> Option<Arc<Running>> {
        lock(&self.holder).clone()
    }

    /// It is held by `holder` until the value is dropped.
    pub(crate) fn hold(&self, holder: Arc<Running>) -> Held<'_> {
        *lock(&self.holder) = Some(holder);
        Held(self)
    }
}

pub(crate) struct Held<'a>(&'a Resource);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *lock(&self.0.holder) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
