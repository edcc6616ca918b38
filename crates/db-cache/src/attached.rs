//! A cache as a database handle uses it: what attaches it, and what happens to it around each COMMIT.

mod checks;
mod commit_touch;
mod measures;
mod writes;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use db_core::{Condition, Error, Part, PartHealth, Result, Running};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::FutureExt;

use crate::cache::Cache;
use crate::position::{History, Position};
use crate::relay::{OpenConnection, Relay};
use crate::tag::Tag;
use commit_touch::CommitTouch;
use writes::{Recorder, Tables, Tagged, Writes};

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Asks where the primary's log stands, behind a COMMIT and in the same flush; none where it is not known.
pub type ReadPosition =
    Arc<dyn for<'c> Fn(&'c AsyncPgConnection) -> Answer<'c, Option<Position>> + Send + Sync>;

/// The tables and statements that were warned of.
type Warned = HashSet<(&'static str, Arc<str>)>;

/// A cache that a database handle tells of its transactions. Cheap to clone.
///
/// Declare the tables that entries are made from: then a transaction that writes to one drops what was made
/// from it when it commits, and nobody has to remember to.
///
/// ```
/// use std::sync::Arc;
/// use db_cache::{AttachedCache, Cache, CacheConfig};
///
/// # use std::{future::Future, pin::Pin};
/// # type Answer<'c> = Pin<Box<dyn Future<Output = Option<db_cache::Position>> + Send + 'c>>;
/// fn nowhere(_: &diesel_async::AsyncPgConnection) -> Answer<'_> {
///     Box::pin(std::future::ready(None))
/// }
/// # tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(async {
/// let cache = AttachedCache::new(Cache::new(CacheConfig::default()), Arc::new(nowhere)).table("countries");
/// assert_eq!(cache.part(|| std::future::ready(())).name, "cache");
/// # });
/// ```
#[derive(Clone)]
pub struct AttachedCache {
    cache: Cache,
    relay: Option<Relay>,
    read_position: ReadPosition,
    tables: Arc<Tables>,
    warned: Arc<Mutex<Warned>>,
}

impl AttachedCache {
    /// A cache that no table is declared for.
    pub fn new(cache: Cache, read_position: ReadPosition) -> Self {
        AttachedCache { cache, relay: None, read_position, tables: Arc::default(), warned: Arc::default() }
    }

    /// The same, whose transactions tell a relay what they touch, in the log: what was committed is dropped
    /// even where this process ends right after COMMIT.
    #[must_use]
    pub fn relayed_by(mut self, relay: Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// The same, where every write to `table` in a transaction touches [`Tag::table`] of it. Name it as
    /// statements do: with its schema only if they have one.
    #[must_use]
    pub fn table(self, table: &'static str) -> Self {
        self.declaring(table, Tagged::Whole)
    }

    /// The same, where entries are made from single rows of `table`, whose tags transactions touch by
    /// themselves. A development build warns of a transaction that writes to it and touches none.
    #[must_use]
    pub fn rows_of(self, table: &'static str) -> Self {
        self.declaring(table, Tagged::Rows)
    }

    /// The cache itself.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The relay, if there is one.
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// What attaches it; `ends` runs when it is stopped. Its mark belongs last before COMMIT, and its bump
    /// first behind it: attach it behind all other parts.
    pub fn part<F>(&self, ends: impl FnOnce() -> F + Send + 'static) -> Part
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (hooks, checkouts, starts) = (self.clone(), Arc::clone(&self.tables), self.clone());
        let part = Part::named("cache").around_commit(move || CommitTouch::new(&hooks)).starting(
            move |ground| async move {
                if let Some(relay) = starts.relay.clone() {
                    let opened = ground.clone();
                    let open: OpenConnection = Arc::new(move || {
                        let ground = opened.clone();
                        Box::pin(async move { ground.connect_direct().await })
                    });
                    ground.spawn(async move { relay.run(open).await });
                }
                let (health, measured, checked) = (starts.clone(), starts.clone(), starts);
                Ok(Running::new()
                    .with_stop(ends)
                    .with_health(move || health.health())
                    .with_metrics(move || {
                        let of_relay = measured.relay.iter().flat_map(|relay| relay.status().measures());
                        measures::of(&measured.cache.stats()).into_iter().chain(of_relay).collect()
                    })
                    .with_checks(move || checks::of(&checked.cache.stats(), checked.relay())))
            },
        );
        if self.tables.declared.is_empty() {
            return part;
        }
        part.on_checkout(move |conn| {
            if let Some(writes) = Writes::current() {
                conn.set_instrumentation(Recorder::new(&checkouts, &writes));
            }
            Box::pin(std::future::ready(Ok(())))
        })
    }

    /// Runs a transaction whose writes are kept for the caches that are attached.
    pub async fn in_transaction<F: Future>(transaction: F) -> F::Output {
        Writes::scope(transaction).await
    }

    /// Whether this task is in such a transaction: the cache must not hear of its writes before COMMIT.
    pub fn is_in_transaction() -> bool {
        Writes::current().is_some()
    }

    /// Says that the transaction which this task is in writes what `tags` stand for.
    ///
    /// # Errors
    /// [`Error::Client`] outside of [`AttachedCache::in_transaction`].
    pub fn touch(tags: impl IntoIterator<Item = Tag>) -> Result<()> {
        let outside = "a tag is touched outside a transaction: call Db::invalidate_tags after the write";
        Writes::current().ok_or_else(|| Error::Client(outside.into()))?.touch(tags);
        Ok(())
    }

    /// The writer continues this history: what was read from another one is dropped here before this returns,
    /// and elsewhere as soon as the second tier is told.
    pub fn continues(&self, history: History) {
        let cache = self.cache.clone();
        let mut telling = Box::pin(async move { cache.set_history(history).await });
        if telling.as_mut().now_or_never().is_none() {
            tokio::spawn(telling);
        }
    }

    fn declaring(mut self, table: &'static str, tagged: Tagged) -> Self {
        self.tables = Arc::new(self.tables.declaring(table, tagged));
        self
    }

    fn health(&self) -> PartHealth {
        match (&self.relay, self.cache.stats().breaker_open) {
            (_, true) => PartHealth::new(
                Condition::Degraded,
                "the cache's second tier does not answer: values are kept in process only",
            ),
            (Some(relay), false) => relay.status().health(),
            (None, false) => PartHealth::up(),
        }
    }

    /// Warns, once for each statement, of writes whose entries nothing drops. In development builds only.
    fn warn_of(&self, writes: &Writes) {
        if !cfg!(debug_assertions) {
            return;
        }
        for (table, statement) in writes.untouched() {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.insert((table, Arc::clone(&statement))) {
                tracing::warn!(
                    table,
                    %statement,
                    "a transaction writes to a table that cached entries are made from and touches no tag of it: call Db::touch"
                );
            }
        }
    }
}

impl fmt::Debug for AttachedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables: BTreeMap<_, _> = self.tables.declared.iter().collect();
        f.debug_struct("AttachedCache")
            .field("tables", &tables)
            .field("relay", &self.relay)
            .finish_non_exhaustive()
    }
}
