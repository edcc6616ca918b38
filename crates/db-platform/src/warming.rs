//! Warms the cache of a [`Db`]: from a list, from a query, and from the hot keys of the last run.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;

use db_cache::{Keys, Keyspace, WarmConfig, Warmed};
use db_core::{Error, Result, Work};
use db_loader::Fetch;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::Db;

/// Told after each batch how far the whole is.
pub(crate) type Progress = Arc<dyn Fn(&Warmed) + Send + Sync>;

/// One source of keys, and how they are loaded.
pub(crate) type WarmStep =
    Arc<dyn Fn(Db, WarmConfig, Progress) -> BoxFuture<'static, Result<Warmed>> + Send + Sync>;

/// A job that warms a cache, from [`Db::warm_cache`]. It may be run again and again: once a day before the
/// first visitors, say. Cheap to clone.
///
/// ```no_run
/// # use db_platform::cache::{Keyspace, Tag};
/// # use db_platform::{Db, Result};
/// # use diesel::prelude::*;
/// # use diesel_async::{AsyncPgConnection, RunQueryDsl};
/// # diesel::table! { users (id) { id -> BigInt, name -> Text, seen -> Bool, } }
/// static NAMES: Keyspace<i64, String> =
///     Keyspace::new("user_names").tags_of_key(|id| vec![Tag::row("users", id)]);
///
/// async fn names(conn: &mut AsyncPgConnection, ids: Vec<i64>) -> QueryResult<Vec<(i64, String)>> {
///     let named = users::table.filter(users::id.eq_any(ids));
///     named.select((users::id, users::name)).load(conn).await
/// }
///
/// # async fn before_the_first_visitors(db: Db) -> Result<()> {
/// let job = db
///     .warm_cache()
///     .saved(&NAMES, names)
///     .query(&NAMES, async |conn| users::table.filter(users::seen).select(users::id).load(conn).await, names)
///     .keys_per_second(500.try_into().unwrap())
///     .on_progress(|warmed| println!("{warmed}"));
/// println!("{}", job.run().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CacheWarming {
    db: Db,
    steps: Vec<WarmStep>,
    config: WarmConfig,
    progress: Progress,
}

impl Db {
    /// A job that warms the cache: from the saved hot keys of each keyspace that
    /// [`DbCache::warms`](crate::DbCache::warms) has declared, and from what is added to it. It does nothing
    /// before [`CacheWarming::run`].
    pub fn warm_cache(&self) -> CacheWarming {
        let steps = self.cache_steps();
        let config = WarmConfig::default();
        CacheWarming { db: self.clone(), steps, config, progress: Arc::new(|_| {}) }
    }
}

impl CacheWarming {
    /// The same, with these keys, in their order.
    #[must_use]
    pub fn keys<K, V, R, E>(self, keys: Keys<K, V>, load: impl Fetch<K, R, E>) -> Self
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, V)> + Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        let keys = Arc::new(keys);
        self.step(Arc::new(move |db: Db, config, progress| {
            let (keys, load) = (Arc::clone(&keys), load.clone());
            Box::pin(async move { db.warm_keys(&keys, config, progress, load).await })
        }))
    }

    /// The same, with the keys that `select` reads, in their order, as [`Db::read`] does.
    #[must_use]
    pub fn query<K, V, R, E, S>(
        self,
        keyspace: &'static Keyspace<K, V>,
        select: impl Work<Vec<K>, S> + Sync + 'static,
        load: impl Fetch<K, R, E>,
    ) -> Self
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, V)> + Send + 'static,
        E: Into<Error> + Send + 'static,
        S: Into<Error> + Send + 'static,
    {
        self.step(Arc::new(move |db: Db, config, progress| {
            let (select, load) = (select.clone(), load.clone());
            Box::pin(async move {
                let keys = keyspace.keys(db.read(select).await?);
                db.warm_keys(&keys, config, progress, load).await
            })
        }))
    }

    /// The same, with the saved hot keys of a keyspace, the dearest first. Without a second tier there are
    /// none.
    #[must_use]
    pub fn saved<K, V, R, E>(self, keyspace: &'static Keyspace<K, V>, load: impl Fetch<K, R, E>) -> Self
    where
        K: Serialize + DeserializeOwned + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, V)> + Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        self.step(saved_step(keyspace, load))
    }

    /// The same, at most so fast; 1,000 keys a second where nobody says.
    #[must_use]
    pub fn keys_per_second(mut self, keys: NonZeroU32) -> Self {
        self.config.keys_per_second = keys;
        self
    }

    /// The same, with at most so many keys in one load; 100 where nobody says.
    #[must_use]
    pub fn keys_a_batch(mut self, keys: NonZeroU32) -> Self {
        self.config.keys_a_batch = keys;
        self
    }

    /// The same, which tells after each batch how far the source of keys at hand is. It must not block.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(&Warmed) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(progress);
        self
    }

    /// Warms the cache, one source of keys after the other; what it came to in all.
    ///
    /// # Errors
    /// The first source's that could not tell its keys, once the others are through. A key that fails is
    /// counted and ends nothing.
    ///
    /// # Cancel safety
    /// Dropping the future ends it after the batch that is under way. What is in the cache stays there.
    pub async fn run(&self) -> Result<Warmed> {
        let (mut all, mut failed) = (Warmed::default(), None);
        for step in &self.steps {
            match step(self.db.clone(), self.config, Arc::clone(&self.progress)).await {
                Ok(warmed) => all = all.and(warmed),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(all), Err)
    }

    fn step(mut self, step: WarmStep) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Debug for CacheWarming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheWarming")
            .field("sources", &self.steps.len())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The saved hot keys of a keyspace as a source.
pub(crate) fn saved_step<K, V, R, E>(keyspace: &'static Keyspace<K, V>, load: impl Fetch<K, R, E>) -> WarmStep
where
    K: Serialize + DeserializeOwned + Clone + Eq + Hash + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    R: IntoIterator<Item = (K, V)> + Send + 'static,
    E: Into<Error> + Send + 'static,
{
    Arc::new(move |db: Db, config, progress| {
        let load = load.clone();
        Box::pin(async move {
            let saved = db.cache_or_error()?.saved_keys(keyspace).await;
            let keys = saved.map_err(|error| Error::Client(Box::new(error)))?;
            db.warm_keys(&keys, config, progress, load).await
        })
    })
}
