//! One request's loaders together, so that one call after a write makes all of them forget.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::loader::Loader;

/// The loaders of one request or job, which remember what they loaded until the request writes.
///
/// Make one for each request and pass it on with the request's own data. Clones are one scope.
///
/// ```
/// use db_core::Error;
/// use db_loader::{Loader, Scope};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let names = Loader::new("names", |ids: Vec<u32>| async move {
///     Ok::<_, Error>(ids.into_iter().map(|id| (id, format!("name {id}"))).collect::<Vec<_>>())
/// });
/// let request = Scope::new();
/// request.of(&names).get(7).await.unwrap();
/// request.of(&names).get(7).await.unwrap();
/// assert_eq!(names.counts().keys, 1);
///
/// request.forget(); // after a write
/// request.of(&names).get(7).await.unwrap();
/// assert_eq!(names.counts().keys, 2);
/// # });
/// ```
#[derive(Clone, Default)]
pub struct Scope {
    loaders: Arc<Mutex<HashMap<usize, Box<dyn Scoped>>>>,
}

impl Scope {
    /// A scope without loaders.
    pub fn new() -> Self {
        Scope::default()
    }

    /// This scope's own of a loader: the same one each time.
    pub fn of<K, V>(&self, loader: &Loader<K, V>) -> Loader<K, V>
    where
        K: Eq + Hash + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let at = Arc::as_ptr(&loader.queue).cast::<()>() as usize;
        let mut loaders = self.loaders();
        let known = loaders.get(&at).and_then(|scoped| scoped.own().downcast_ref::<Loader<K, V>>());
        if let Some(known) = known {
            return known.clone();
        }
        let own = loader.scope();
        // The loader is kept, so that its address is nobody else's while the scope lives.
        loaders.insert(at, Box::new(Pair { own: own.clone(), _of: loader.clone() }));
        own
    }

    /// Makes all of its loaders forget what they remember. Call it after each write that was committed: what
    /// is asked for from then on is loaded anew.
    pub fn forget(&self) {
        self.loaders().values().for_each(|scoped| scoped.forget());
    }

    fn loaders(&self) -> MutexGuard<'_, HashMap<usize, Box<dyn Scoped>>> {
        self.loaders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("loaders", &self.loaders().len()).finish()
    }
}

trait Scoped: Send + Sync {
    fn own(&self) -> &dyn Any;
    fn forget(&self);
}

struct Pair<K, V> {
    own: Loader<K, V>,
    _of: Loader<K, V>,
}

impl<K, V> Scoped for Pair<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn own(&self) -> &dyn Any {
        &self.own
    }

    fn forget(&self) {
        self.own.clear_all();
    }
}
