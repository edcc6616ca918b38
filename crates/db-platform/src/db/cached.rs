//! Reads through a cache, and what a write says to it.

use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;

use db_cache::{
    AttachedCache, Cache, CacheError, CacheStats, Cached, Floor, History, Key, Keys, LoadFrom, Loaded, Mode,
    ReadAt, SessionToken, Tag,
};
use db_core::{Error, Part, Result, Site, Work};
use db_replica_routing::{Freshness, Token};
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Db;
use crate::cache_part::{DbCache, position_of};
use crate::config::Config;
use crate::warming::WarmStep;

/// A value from [`Db::cached`]: shared with the cache, or the caller's own. It derefs to the value.
#[derive(Debug)]
pub enum CachedValue<V> {
    /// It stands in the cache, or came through it.
    Shared(Cached<V>),
    /// It was read past the cache, inside a transaction.
    Own(V),
}

impl<V> Deref for CachedValue<V> {
    type Target = V;

    fn deref(&self) -> &V {
        match self {
            CachedValue::Shared(value) => value,
            CachedValue::Own(value) => value,
        }
    }
}

/// What a session has written, as far as a cache must know.
struct InSession {
    token: SessionToken,
    /// Another process may have written it: whether this one has heard of that, only the second tier can
    /// tell.
    elsewhere: bool,
}

impl Db {
    /// As [`Db::connect_with`], with this cache for [`Db::cached`], whatever [`Config::cache`] says.
    ///
    /// ```no_run
    /// # use db_platform::{Config, Db, DbCache, Result};
    /// # async fn start() -> Result<Db> {
    /// let config = Config::from_env()?;
    /// let cache = DbCache::of(&config)?.table("countries").rows_of("users");
    /// Db::connect_with_cache(config, cache, []).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::connect_with`].
    ///
    /// # Cancel safety
    /// As [`Db::connect`].
    pub async fn connect_with_cache(
        mut config: Config,
        cache: DbCache,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Db> {
        let is_pooled = config.router.pooled;
        let own = cache.relay().map(|relay| format!("{}.emit", relay.config().name));
        if let Some(emit) = own.and_then(|name| name.parse().ok()) {
            // What a transaction tells the relay leaves nothing in its session.
            for pool in [&mut config.pool, &mut config.read_pool] {
                pool.harmless = pool.harmless.and(&emit);
            }
        }
        // Its mark comes last before COMMIT, and its bump first behind it.
        let parts: Vec<_> = parts.into_iter().chain([cache.part()]).collect();
        let db = Db::connect_without_cache(config, parts).await?;
        #[cfg(feature = "monitoring")]
        {
            let counted = cache.clone();
            let _ = db.watched.cache.set(Arc::new(move || counted.cache().stats().asked_and_answered()));
        }
        let told = cache.clone();
        // A failover may have lost commits whose values are cached: they go before the new writer is named.
        db.router.on_history(move |system, timeline| {
            if let Some(system) = system.filter(|_| timeline > 0) {
                told.attached().continues(History { system, timeline });
            }
        });
        let db = Db { cache: Some(cache.clone()), is_pooled, ..db };
        cache.start_warming(&db);
        Ok(db)
    }

    /// The value of a key: from the cache, or from `load`, which reads as [`Db::read`] does and whose value
    /// is kept for the next caller; none where there is none, which is remembered for the keyspace's
    /// `negative_ttl`.
    ///
    /// A standby answers the load only where it has replayed what the entry's tags were last written by. In a
    /// session ([`Db::session`]) the value is at least as new as what the session has written, whatever the
    /// keyspace's mode is; where another process wrote it, that takes a round trip to the second tier.
    /// Callers that want the same key at once share one load, which goes on when they are dropped. Inside a
    /// transaction, `load` runs past the cache, on another connection to the primary: there, read on the
    /// transaction's own.
    ///
    /// ```no_run
    /// # use db_platform::cache::{Keyspace, Tag};
    /// # use db_platform::{Db, Error};
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { users (id) { id -> BigInt, name -> Text, } }
    /// static NAMES: Keyspace<i64, String> =
    ///     Keyspace::new("user_names").tags_of_key(|id| vec![Tag::row("users", id)]);
    ///
    /// # async fn show(db: Db, id: i64) -> Result<(), Box<dyn std::error::Error>> {
    /// let name = db
    ///     .cached(NAMES.key(id), async move |conn| {
    ///         users::table.find(id).select(users::name).first(conn).await.optional()
    ///     })
    ///     .await?;
    /// println!("{}", name.as_deref().map_or("nobody", |name| name));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The load's, if there is nothing that may be served instead; [`CacheError::Load`] with
    /// [`Error::Client`] where this `Db` has no cache.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait; a load that was begun goes on.
    #[track_caller]
    pub fn cached<'a, K, V, E>(
        &'a self,
        key: Key<K, V>,
        load: impl Work<Option<V>, E> + Sync + 'static,
    ) -> BoxFuture<'a, Result<Option<CachedValue<V>>, CacheError<Error>>>
    where
        K: Serialize + Send + Sync,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Error> + Send + 'static,
    {
        let site = Location::caller();
        Box::pin(async move {
            let cache = self.cache_or_error().map_err(failed)?;
            if AttachedCache::is_in_transaction() {
                let own = self.read_at(site, Freshness::Primary, load).await.map_err(failed)?;
                return Ok(own.map(CachedValue::Own));
            }
            let db = self.clone();
            let load = move |from| {
                let (db, load) = (db.clone(), load.clone());
                async move { db.load_for_cache(site, from, load).await }
            };
            let key = self.in_session_of(key);
            Ok(cache.get_with(&key, load).await?.map(CachedValue::Shared))
        })
    }

    /// Drops the entry of one key, in all processes: for what was written past [`Db::transaction`].
    ///
    /// # Errors
    /// Where this `Db` has no cache.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the other processes untold.
    pub async fn invalidate<K: Sync, V>(&self, key: &Key<K, V>) -> Result<()> {
        self.cache_or_error()?.invalidate_key(key).await;
        Ok(())
    }

    /// Drops every entry that was made from one of these, however many there are, in all processes: for what
    /// was written past [`Db::transaction`].
    ///
    /// # Errors
    /// As [`Db::invalidate`].
    ///
    /// # Cancel safety
    /// As [`Db::invalidate`].
    pub async fn invalidate_tags(&self, tags: &[Tag]) -> Result<()> {
        self.cache_or_error()?.invalidate(tags).await;
        Ok(())
    }

    /// Says that the transaction which this task is in writes what `tags` stand for: when it commits, what
    /// was made from them is dropped, and when it rolls back nothing is.
    ///
    /// ```no_run
    /// # use db_platform::cache::Tag;
    /// # use db_platform::{Db, Error, Result};
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { users (id) { id -> BigInt, name -> Text, } }
    /// # async fn rename(db: &Db, id: i64) -> Result<()> {
    /// db.transaction(async move |conn| {
    ///     diesel::update(users::table.find(id)).set(users::name.eq("Ada")).execute(conn).await?;
    ///     db.touch([Tag::row("users", id)])
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Client`] outside a transaction of this crate, and in a task that was spawned within one: use
    /// [`Db::invalidate_tags`] after the write there.
    pub fn touch(&self, tags: impl IntoIterator<Item = Tag>) -> Result<()> {
        AttachedCache::touch(tags)
    }

    /// What the cache has counted, and how it is; none where this `Db` has none.
    pub fn cache_stats(&self) -> Option<CacheStats> {
        self.cache.as_ref().map(|cache| cache.cache().stats())
    }

    /// The sources of keys that the cache has declared for warming.
    pub(crate) fn cache_steps(&self) -> Vec<WarmStep> {
        self.cache.as_ref().map(|cache| cache.warm_steps().to_vec()).unwrap_or_default()
    }

    /// The key as this handle's session reads it.
    fn in_session_of<K, V>(&self, key: Key<K, V>) -> Key<K, V> {
        match self.session_of_cache() {
            None => key,
            Some(InSession { token, elsewhere: false }) => key.session(token),
            Some(InSession { token, elsewhere: true }) => key.session(token).mode(Mode::Strict),
        }
    }

    /// As [`Db::in_session_of`], for many.
    pub(super) fn many_in_session<K, V>(&self, keys: Keys<K, V>) -> Keys<K, V> {
        match self.session_of_cache() {
            None => keys,
            Some(InSession { token, elsewhere: false }) => keys.session(token),
            Some(InSession { token, elsewhere: true }) => keys.session(token).mode(Mode::Strict),
        }
    }

    /// What this handle's session has to see; none where it has written nothing.
    fn session_of_cache(&self) -> Option<InSession> {
        let (session, cache) = (self.session_now()?, self.cache.as_ref()?.cache());
        session.written()?;
        let position = session.token().map(position_of);
        // What this process has written it knows: only what the second tier does not know can be missing.
        let token = SessionToken { feed: None, position, untold: !cache.has_told_everything() };
        Some(InSession { token, elsewhere: session.has_written_elsewhere() })
    }

    pub(crate) fn cache_or_error(&self) -> Result<&Cache> {
        let missing = match self.retry.path() {
            None => "this Db has no cache: set Config::cache, or connect it with Db::connect_with_cache",
            Some(_) => "a handle with a search_path has no cache: its keys do not know the tenant",
        };
        self.cache.as_ref().map(DbCache::cache).ok_or_else(|| Error::Client(missing.into()))
    }

    /// Reads a value for the cache, and says where.
    async fn load_for_cache<V, E>(
        &self,
        site: Site,
        from: LoadFrom,
        load: impl Work<Option<V>, E>,
    ) -> Result<Loaded<V>>
    where
        V: Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        let freshness = self.freshness_for(from);
        let work = async move |conn: &mut AsyncPgConnection| {
            // Before the snapshot: on a standby it holds what was replayed by now.
            let read_at = ReadAt::of(conn).await?;
            let value = load(conn).await.map_err(Into::into)?;
            Ok::<_, Error>(Loaded::new(value, read_at))
        };
        self.load_at(site, freshness, work).await
    }

    /// How fresh a server must be that answers a load.
    pub(super) fn freshness_for(&self, from: LoadFrom) -> Freshness {
        // Behind a pooler that leads each statement elsewhere, no position says anything of the next one.
        if self.is_pooled { Freshness::Primary } else { freshness_of(from) }
    }
}

pub(super) fn failed(error: Error) -> CacheError<Error> {
    CacheError::Load(db_cache::Shared(Arc::new(error)))
}

fn freshness_of(from: LoadFrom) -> Freshness {
    match from {
        LoadFrom::Replayed(Floor::At(position)) => Freshness::AtLeast(Token {
            system: position.history.system,
            timeline: position.history.timeline,
            position: position.lsn(),
        }),
        LoadFrom::Replayed(Floor::Unknown) | LoadFrom::Primary => Freshness::Primary,
    }
}
