//! The statement of a query, as whatever runs its batches gets it.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use db_core::{Result, Site};
use diesel_async::AsyncPgConnection;

use crate::any_fetch::AnyFetch;
use crate::found::Found;
use crate::nesting::{self, Running};

/// The statement of a [`Query`](crate::Query) or of [`Children`](crate::Children): it loads many keys at
/// once, on the connection that it is given. Cheap to clone.
///
/// ```no_run
/// use db_core::{Acquire, Result};
/// use db_loader::{Found, Statement};
///
/// async fn load(pool: &impl Acquire, ids: Vec<i32>, names: Statement<i32, String>) -> Result<Found<i32, String>> {
///     let mut conn = pool.acquire_at(names.site()).await?;
///     names.run(&mut conn, ids).await
/// }
/// ```
pub struct Statement<K, V> {
    name: &'static str,
    fetch: Arc<dyn AnyFetch<K, V>>,
    site: Site,
    /// The batch that it runs for: a cache may run it in a task of its own, where nothing else tells.
    batch: Option<Arc<Running>>,
}

impl<K, V> Statement<K, V> {
    pub(crate) fn new(name: &'static str, fetch: Arc<dyn AnyFetch<K, V>>, site: Site) -> Self {
        Statement { name, fetch, site, batch: None }
    }

    /// The same for the batch that this task runs.
    pub(crate) fn of_this_batch(&self) -> Self {
        Statement { batch: nesting::current(), ..self.clone() }
    }

    /// Loads these keys on `conn`. A key that the answer does not know was not found.
    ///
    /// # Errors
    /// The statement's own.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement under way.
    pub async fn run(&self, conn: &mut AsyncPgConnection, keys: Vec<K>) -> Result<Found<K, V>>
    where
        K: Eq + Hash,
    {
        let fetch = self.fetch.fetch(conn, keys);
        let Some(batch) = &self.batch else { return fetch.await };
        let mut found = nesting::within(Arc::clone(batch), fetch).await?;
        // What hands these on knows no loader.
        found.fail_ambiguous(self.name);
        Ok(found)
    }

    /// The query's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The line that declared the query: leak reports name it where a connection was taken on its behalf.
    pub fn site(&self) -> Site {
        self.site
    }
}

impl<K, V> Clone for Statement<K, V> {
    fn clone(&self) -> Self {
        let fetch = Arc::clone(&self.fetch);
        Statement { name: self.name, fetch, site: self.site, batch: self.batch.clone() }
    }
}

impl<K, V> fmt::Debug for Statement<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").field("name", &self.name).finish_non_exhaustive()
    }
}
