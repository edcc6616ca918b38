//! Reads of many keys at once through a cache.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;

use db_cache::{AttachedCache, CacheError, Keys, LoadFrom, LoadedMany, ReadAt, WarmConfig, Warmed};
use db_core::{Error, Result, Site};
use db_loader::Fetch;
use db_replica_routing::Freshness;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Db;
use super::cached::CachedValue;
use crate::warming::Progress;

/// The values that there are, by their keys: from [`Db::cached_many`].
pub type CachedMany<K, V> = HashMap<K, CachedValue<V>>;

/// What each key came to.
pub(crate) type EachCached<K, V> = HashMap<K, Result<Option<CachedValue<V>>, CacheError<Error>>>;

impl Db {
    /// The values of many keys: from the first tier, from the second in one round trip, or from one `load`
    /// for all keys that both lack. A key that `load` answers nothing for is not in the answer, and that is
    /// remembered for the keyspace's `negative_ttl`.
    ///
    /// A key that somebody else is loading already is waited for and not loaded twice. A standby answers
    /// `load` only where it has replayed what the tags of all its keys were last written by. Inside a
    /// transaction `load` runs past the cache, for all keys, on another connection to the primary: there,
    /// read on the transaction's own.
    ///
    /// ```no_run
    /// # use db_platform::cache::{Keyspace, Tag};
    /// # use db_platform::Db;
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { users (id) { id -> BigInt, name -> Text, } }
    /// static NAMES: Keyspace<i64, String> =
    ///     Keyspace::new("user_names").tags_of_key(|id| vec![Tag::row("users", id)]);
    ///
    /// # async fn show(db: Db) -> Result<(), Box<dyn std::error::Error>> {
    /// let names = db
    ///     .cached_many(NAMES.keys([7, 8, 9]), async |conn, missing: Vec<i64>| {
    ///         let named = users::table.filter(users::id.eq_any(missing));
    ///         named.select((users::id, users::name)).load::<(i64, String)>(conn).await
    ///     })
    ///     .await?;
    /// println!("{}", names.get(&7).map_or("nobody", |name| name));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::cached`], of one of the keys that failed; and where `load` answers a key twice.
    ///
    /// # Cancel safety
    /// As [`Db::cached`].
    #[track_caller]
    pub fn cached_many<'a, K, V, R, E>(
        &'a self,
        keys: Keys<K, V>,
        load: impl Fetch<K, R, E>,
    ) -> BoxFuture<'a, Result<CachedMany<K, V>, CacheError<Error>>>
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, V)> + Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        let each = self.cached_each(Location::caller(), keys, each_of(load));
        Box::pin(async move {
            let found = each.await.into_iter().filter_map(|(key, answer)| match answer {
                Ok(value) => Some(Ok((key, value?))),
                Err(error) => Some(Err(error)),
            });
            found.collect()
        })
    }

    /// As [`Db::cached_many`], on behalf of the code at `site`, with an answer for each key: `load` may fail
    /// for some of them.
    pub(crate) fn cached_each<'a, K, V, R>(
        &'a self,
        site: Site,
        keys: Keys<K, V>,
        load: impl Fetch<K, R, Error>,
    ) -> BoxFuture<'a, EachCached<K, V>>
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, Result<V>)> + Send + 'static,
    {
        Box::pin(async move {
            let cache = match self.cache_or_error() {
                Ok(cache) => cache,
                Err(error) => return all_failed(keys.keys(), error),
            };
            if AttachedCache::is_in_transaction() {
                return self.each_past_cache(site, keys.keys(), load).await;
            }
            let db = self.clone();
            let load = move |from, missing| {
                let (db, load) = (db.clone(), load.clone());
                async move { db.load_many_for_cache(site, from, missing, load).await }
            };
            let keys = self.many_in_session(keys);
            let answers = cache.get_many_with(&keys, load).await;
            let own = |(key, answer): (K, Result<Option<_>, _>)| {
                (key, answer.map(|value| value.map(CachedValue::Shared)))
            };
            answers.into_iter().map(own).collect()
        })
    }

    /// Brings keys into the first tier, batch by batch.
    pub(crate) async fn warm_keys<K, V, R, E>(
        &self,
        keys: &Keys<K, V>,
        config: WarmConfig,
        progress: Progress,
        load: impl Fetch<K, R, E>,
    ) -> Result<Warmed>
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, V)> + Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        let (db, load, site) = (self.clone(), each_of(load), Location::caller());
        let load = move |from, missing| {
            let (db, load) = (db.clone(), load.clone());
            async move { db.load_many_for_cache(site, from, missing, load).await }
        };
        Ok(self.cache_or_error()?.warm(keys, config, move |warmed| progress(warmed), load).await)
    }

    async fn each_past_cache<K, V, R>(
        &self,
        site: Site,
        keys: &[K],
        load: impl Fetch<K, R, Error>,
    ) -> EachCached<K, V>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Send + 'static,
        R: IntoIterator<Item = (K, Result<V>)> + Send + 'static,
    {
        let wanted = keys.to_vec();
        let read = self.read_at(site, Freshness::Primary, async move |conn: &mut AsyncPgConnection| {
            Ok::<_, Error>(LoadedMany::of_rows(load(conn, wanted).await?, ReadAt::Elsewhere))
        });
        let LoadedMany { mut values, mut failed, .. } = match read.await {
            Ok(read) => read,
            Err(error) => return all_failed(keys, error),
        };
        let mut answer = |key: &K| match failed.remove(key) {
            Some(error) => Err(super::cached::failed(error)),
            None => Ok(values.remove(key).map(CachedValue::Own)),
        };
        keys.iter().map(|key| (key.clone(), answer(key))).collect()
    }

    /// Reads values for the cache, and says where.
    async fn load_many_for_cache<K, V, R>(
        &self,
        site: Site,
        from: LoadFrom,
        keys: Vec<K>,
        load: impl Fetch<K, R, Error>,
    ) -> Result<LoadedMany<K, V, Error>>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Send + 'static,
        R: IntoIterator<Item = (K, Result<V>)> + Send + 'static,
    {
        let freshness = self.freshness_for(from);
        let work = async move |conn: &mut AsyncPgConnection| {
            // Before the snapshot: on a standby it holds what was replayed by now.
            let read_at = ReadAt::of(conn).await?;
            Ok::<_, Error>(LoadedMany::of_rows(load(conn, keys).await?, read_at))
        };
        self.load_at(site, freshness, work).await
    }
}

/// A load whose rows are all well, as one whose rows may fail one by one.
fn each_of<K, V, R, E>(load: impl Fetch<K, R, E>) -> impl Fetch<K, Vec<(K, Result<V>)>, Error>
where
    K: Send + 'static,
    V: Send + 'static,
    R: IntoIterator<Item = (K, V)> + Send + 'static,
    E: Into<Error> + Send + 'static,
{
    async move |conn: &mut AsyncPgConnection, missing: Vec<K>| {
        let rows = load(conn, missing).await.map_err(Into::into)?;
        Ok(rows.into_iter().map(|(key, value)| (key, Ok(value))).collect())
    }
}

fn all_failed<K: Clone + Eq + Hash, V>(keys: &[K], error: Error) -> EachCached<K, V> {
    let shared = Arc::new(error);
    let error = || CacheError::Load(db_cache::Shared(Arc::clone(&shared)));
    keys.iter().map(|key| (key.clone(), Err(error()))).collect()
}
