//! The cache of a [`Db`](crate::Db): where it is, which tables it is made from, and when it warms.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_cache::relay::Relay;
use db_cache::{AttachedCache, Cache, History, Keyspace, Position, RedisTier};
use db_core::{Error, Part, Result};
use db_loader::Fetch;
use db_replica_routing::Token;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::db::Db;
use crate::warming::{CacheWarming, WarmStep, saved_step};

/// A cache as [`Db`](crate::Db) uses it. Cheap to clone.
///
/// Declare the tables that entries are made from: then a transaction that writes to one drops what was made
/// from it when it commits, and nobody has to remember to.
///
/// ```no_run
/// use db_platform::cache::{Cache, CacheConfig};
/// use db_platform::{Config, Db, DbCache, Result};
///
/// # async fn start(config: Config) -> Result<Db> {
/// let cache = DbCache::new(Cache::new(CacheConfig::default())).table("countries").rows_of("users");
/// Db::connect_with_cache(config, cache, []).await
/// # }
/// ```
#[derive(Clone)]
pub struct DbCache {
    attached: AttachedCache,
    steps: Vec<WarmStep>,
    warming: Arc<Mutex<Option<AbortHandle>>>,
}

impl DbCache {
    /// A cache that no table is declared for.
    pub fn new(cache: Cache) -> Self {
        let attached = AttachedCache::new(cache, Arc::new(read_position));
        DbCache { attached, steps: Vec::new(), warming: Arc::default() }
    }

    /// The cache that a configuration describes: on Redis where `REDIS_URL` is set, else in this process
    /// alone, which is said in the log. It must be made within a tokio runtime.
    ///
    /// # Errors
    /// Where [`Config::cache`] names a second tier that is none; one that was read from settings was checked
    /// there.
    pub fn of(config: &Config) -> Result<Self> {
        let config = config.cache.clone().unwrap_or_default();
        let tier = RedisTier::of(&config).map_err(|error| Error::Client(Box::new(error)))?;
        Ok(DbCache::new(match tier {
            Some(tier) => Cache::with_second_tier(config, Arc::new(tier)),
            None => {
                tracing::info!(
                    "the cache works in this process alone and hears of no other's writes: set REDIS_URL where there are several"
                );
                Cache::new(config)
            }
        }))
    }

    /// As [`AttachedCache::relayed_by`].
    #[must_use]
    pub fn relayed_by(self, relay: Relay) -> Self {
        DbCache { attached: self.attached.relayed_by(relay), ..self }
    }

    /// As [`AttachedCache::table`].
    #[must_use]
    pub fn table(self, table: &'static str) -> Self {
        DbCache { attached: self.attached.table(table), ..self }
    }

    /// As [`AttachedCache::rows_of`].
    #[must_use]
    pub fn rows_of(self, table: &'static str) -> Self {
        DbCache { attached: self.attached.rows_of(table), ..self }
    }

    /// The same, which knows how keys of this keyspace are loaded, many at a time: where
    /// `CACHE_ENABLE_WARMING` is on it loads those that were hot in the last run when the service starts, and
    /// in any case when `dbctl cache warm` asks and in [`Db::warm_cache`](crate::Db::warm_cache).
    ///
    /// ```no_run
    /// # use db_platform::cache::{Keyspace, Tag};
    /// # use db_platform::{Config, Db, DbCache, Result};
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { users (id) { id -> BigInt, name -> Text, } }
    /// # static NAMES: Keyspace<i64, String> = Keyspace::new("user_names");
    /// # async fn start(config: Config) -> Result<Db> {
    /// let cache = DbCache::of(&config)?.rows_of("users").warms(&NAMES, async |conn, ids: Vec<i64>| {
    ///     let named = users::table.filter(users::id.eq_any(ids));
    ///     named.select((users::id, users::name)).load::<(i64, String)>(conn).await
    /// });
    /// Db::connect_with_cache(config, cache, []).await
    /// # }
    /// ```
    #[must_use]
    pub fn warms<K, V, R, E>(mut self, keyspace: &'static Keyspace<K, V>, load: impl Fetch<K, R, E>) -> Self
    where
        K: Serialize + DeserializeOwned + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, V)> + Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        self.steps.push(saved_step(keyspace, load));
        self
    }

    /// The cache itself.
    pub fn cache(&self) -> &Cache {
        self.attached.cache()
    }

    /// The relay, if there is one.
    pub fn relay(&self) -> Option<&Relay> {
        self.attached.relay()
    }

    pub(crate) fn attached(&self) -> &AttachedCache {
        &self.attached
    }

    /// What attaches it to a `Db`; [`Db::connect_with_cache`](crate::Db::connect_with_cache) does.
    pub(crate) fn part(&self) -> Part {
        let stops = self.clone();
        self.attached.part(move || async move { stops.stop_warming().await })
    }

    pub(crate) fn warm_steps(&self) -> &[WarmStep] {
        &self.steps
    }

    /// Warms the cache now, where the configuration says so, and whenever an operator asks for it, until the
    /// part stops.
    pub(crate) fn start_warming(&self, db: &Db) {
        if self.steps.is_empty() {
            return;
        }
        let (mut requests, database) = (self.cache().warm_requests(), db.downgrade());
        let mut is_asked = self.cache().config().warming;
        let warming = tokio::spawn(async move {
            while let Some(db) = database.upgrade() {
                if is_asked {
                    warm(&db.warm_cache()).await;
                }
                drop(db);
                is_asked = tokio::time::timeout(LOOK_FOR_HANDLES, requests.next()).await == Ok(true);
            }
        });
        let handle = warming.abort_handle();
        if let Some(before) = lock(&self.warming).replace(handle) {
            before.abort();
        }
    }

    /// Ends the warming, and saves the hot keys for the next start.
    async fn stop_warming(&self) {
        if let Some(warming) = lock(&self.warming).take() {
            warming.abort();
        }
        if self.cache().config().warming
            && let Err(error) = self.cache().save_hot_keys().await
        {
            tracing::warn!(%error, "the hot keys of the cache are not saved: the next start is as warm as half a minute ago");
        }
    }
}

impl fmt::Debug for DbCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DbCache").field(&self.attached).finish()
    }
}

fn read_position(conn: &AsyncPgConnection) -> BoxFuture<'_, Option<Position>> {
    Box::pin(async move { Token::read(conn).await.ok().flatten().map(position_of) })
}

/// Where a session's token is in the log.
pub(crate) fn position_of(token: Token) -> Position {
    Position::new(History { system: token.system, timeline: token.timeline }, token.position.0)
}

/// How soon the task that waits for requests to warm notices that nobody has a handle any more.
const LOOK_FOR_HANDLES: Duration = Duration::from_secs(10);

/// Runs a job that nobody waits for.
async fn warm(job: &CacheWarming) {
    match job.run().await {
        Ok(warmed) => tracing::info!(%warmed, "the cache is warm"),
        Err(error) => tracing::warn!(%error, "the cache is not warmed: what is asked for is loaded then"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
