//! One statement for many keys, and where it runs: on a pool's connections, or on a transaction's own.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use db_core::{Error, Result, Site};
use diesel_async::AsyncPgConnection;

use crate::ahead::{Ahead, Behind};
use crate::any_fetch::{Answer, AnyFetch};
use crate::batch::Batch;
use crate::config::LoaderConfig;
use crate::connections::Connections;
use crate::counts::{Counters, LoadCounts};
use crate::found::Found;
use crate::lend::Lent;
use crate::loader::Loader;
use crate::nesting::Resource;
use crate::statement::Statement;

/// The statement for a batch of keys: an `async |conn, keys| …` closure, of which each batch runs a fresh
/// clone.
pub trait Fetch<K, R, E>:
    for<'c> AsyncFnOnce(&'c mut AsyncPgConnection, Vec<K>) -> Result<R, E>
    + for<'c> sealed::Call<&'c mut AsyncPgConnection, Vec<K>, Result<R, E>, Fut: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<F, K, R, E> Fetch<K, R, E> for F where
    F: for<'c> AsyncFnOnce(&'c mut AsyncPgConnection, Vec<K>) -> Result<R, E>
        + for<'c> sealed::Call<&'c mut AsyncPgConnection, Vec<K>, Result<R, E>, Fut: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

mod sealed {
    /// Names the closure's future, so that it can be required to be `Send`.
    pub trait Call<A, B, R>: AsyncFnOnce(A, B) -> R + FnOnce(A, B) -> <Self as Call<A, B, R>>::Fut {
        type Fut: Future<Output = R>;
    }

    impl<F, A, B, R, Fut> Call<A, B, R> for F
    where
        F: AsyncFnOnce(A, B) -> R + FnOnce(A, B) -> Fut,
        Fut: Future<Output = R>,
    {
        type Fut = Fut;
    }
}

/// What is loaded with one statement for many keys. [`Query::on`] says where, and makes a loader of it.
///
/// diesel writes `eq_any` as `= ANY($1)`, so one prepared statement serves batches of every size.
///
/// ```no_run
/// use db_core::Acquire;
/// use db_loader::{LoadError, Query};
/// use diesel::prelude::*;
/// use diesel_async::{AsyncPgConnection, RunQueryDsl};
///
/// diesel::table! { users (id) { id -> Integer, name -> Text, } }
///
/// async fn names(pool: impl Acquire + Send + 'static) -> Result<(), LoadError> {
///     let names: Query<i32, String> = Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
///         users::table.filter(users::id.eq_any(ids)).load::<(i32, String)>(conn).await
///     });
///     let names = names.on(pool);
///     println!("{:?} {:?}", names.get(1).await?, names.get(2).await?);
///     Ok(())
/// }
/// ```
pub struct Query<K, V> {
    name: &'static str,
    config: LoaderConfig,
    fetch: Arc<dyn AnyFetch<K, V>>,
    /// Where it was declared.
    site: Site,
    /// Of all of its loaders.
    counters: Arc<Counters>,
}

impl<K, V> Query<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A query of this name, with the defaults of [`LoaderConfig`]. Leak reports name the line that calls
    /// this.
    #[track_caller]
    pub fn new<R, E>(name: &'static str, fetch: impl Fetch<K, R, E>) -> Self
    where
        R: Into<Found<K, V>> + Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        Self::of(name, Location::caller(), Closure { fetch, answers: PhantomData })
    }

    pub(crate) fn of(name: &'static str, site: Site, fetch: impl AnyFetch<K, V> + 'static) -> Self {
        Query {
            name,
            config: LoaderConfig::default(),
            fetch: Arc::new(fetch),
            site,
            counters: Arc::default(),
        }
    }

    /// The same query, configured.
    #[must_use]
    pub fn with(mut self, config: LoaderConfig) -> Self {
        self.config = config;
        self
    }

    /// A loader whose batches run there.
    ///
    /// A batch function that asks another loader holds its connection meanwhile. With few connections these
    /// can wait for each other until the pool's `acquire_timeout` ends it: load such keys after the batch,
    /// not in it.
    pub fn on(&self, connections: impl Connections) -> Loader<K, V> {
        let batch = On { statement: self.statement(), connections };
        self.loader(batch, None)
    }

    /// A loader whose batches `cache` answers: it runs the statement for what it does not know.
    ///
    /// Loads in a transaction ([`Query::within`]) never ask a cache.
    pub fn behind(&self, cache: impl Ahead<K, V>) -> Loader<K, V> {
        self.loader(Behind { cache, statement: self.statement() }, None)
    }

    /// A loader whose batches run in a transaction, on its connection: it sees what the transaction has
    /// written.
    ///
    /// It remembers nothing, so it sees each write at once. A [scope](Loader::scope) of it must be told of
    /// writes. After the loan it fails.
    pub fn within(&self, lent: &Lent) -> Loader<K, V> {
        let batch = On { statement: self.statement(), connections: lent.clone() };
        self.loader(batch, Some(lent.resource()))
    }

    /// What all of its loaders have done so far.
    pub fn counts(&self) -> LoadCounts {
        self.counters.read()
    }

    fn statement(&self) -> Statement<K, V> {
        Statement::new(self.name, Arc::clone(&self.fetch), self.site)
    }

    fn loader(&self, batch: impl Batch<K, V>, resource: Option<Arc<Resource>>) -> Loader<K, V> {
        let (config, counters) = (self.config.clone(), Arc::clone(&self.counters));
        Loader::on_resource(self.name, config, batch, counters, resource)
    }
}

impl<K, V> Clone for Query<K, V> {
    fn clone(&self) -> Self {
        let (fetch, counters) = (Arc::clone(&self.fetch), Arc::clone(&self.counters));
        Query { name: self.name, config: self.config.clone(), fetch, site: self.site, counters }
    }
}

impl<K, V> fmt::Debug for Query<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Closure<F, R, E> {
    fetch: F,
    answers: PhantomData<fn() -> Result<R, E>>,
}

impl<K, V, F, R, E> AnyFetch<K, V> for Closure<F, R, E>
where
    K: Eq + Hash + Send + 'static,
    V: Send + 'static,
    F: Fetch<K, R, E>,
    R: Into<Found<K, V>> + Send + 'static,
    E: Into<Error> + Send + 'static,
{
    fn fetch<'c>(&'c self, conn: &'c mut AsyncPgConnection, keys: Vec<K>) -> Answer<'c, Result<Found<K, V>>> {
        let fetch = self.fetch.clone();
        Box::pin(async move { fetch(conn, keys).await.map(Into::into).map_err(Into::into) })
    }
}

/// The batch function of a query.
struct On<K, V, C> {
    statement: Statement<K, V>,
    connections: C,
}

impl<K, V, C> Batch<K, V> for On<K, V, C>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Send + 'static,
    C: Connections,
{
    async fn run(&self, keys: Vec<K>) -> Result<Found<K, V>> {
        let statement = self.statement.clone();
        let work = async move |conn: &mut AsyncPgConnection| statement.run(conn, keys).await;
        self.connections.run(self.statement.site(), work).await
    }
}
