//! Loaders behind the cache: the first tier, then one look at the second, then one statement for the rest.

use std::hash::Hash;
use std::sync::Arc;

use db_cache::{AttachedCache, CacheError, Keys, Keyspace};
use db_core::{Error, Result};
use db_loader::{Ahead, Children, Found, Loader, PageOf, Query, Statement, Top};
use db_replica_routing::Freshness;
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::{CachedValue, Db};

impl Db {
    /// As [`Db::loader`], behind the cache: a batch looks in the first tier, then for all that is not there
    /// in the second, in one round trip, and runs one statement for the rest, as [`Db::cached_many`] does.
    /// `keys` says by which keys of the cache it knows them.
    ///
    /// The memo is in front of the cache, and forgets as that of [`Db::loader`]: what a transaction of the
    /// request has touched is dropped from the cache by then. Made inside a transaction, it goes past the
    /// cache to the primary: there, use [`lend`](db_loader::lend) and [`Query::within`].
    ///
    /// ```no_run
    /// # use db_platform::cache::{Keyspace, Tag};
    /// # use db_platform::{Db, loader::{LoadError, Query}};
    /// static NAMES: Keyspace<i64, String> =
    ///     Keyspace::new("user_names").tags_of_key(|id| vec![Tag::row("users", id)]);
    ///
    /// # async fn authors(db: Db, names: Query<i64, String>) -> Result<(), LoadError> {
    /// let names = db.cached_loader(&names, |ids| NAMES.keys(ids));
    /// let (one, two) = tokio::join!(names.get(1), names.get(2));
    /// println!("{:?} {:?}", one?, two?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Values are cloned out of the cache for each batch: where they are large, load `Arc<V>`.
    pub fn cached_loader<K, V>(
        &self,
        query: &Query<K, V>,
        keys: impl Fn(Vec<K>) -> Keys<K, V> + Send + Sync + 'static,
    ) -> Loader<K, V>
    where
        K: Serialize + Eq + Hash + Clone + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        query.behind(self.ahead(keys)).scope_while(self.own_writes())
    }

    /// As [`Db::cached_loader`], of the first so many children of a parent. Each page is an entry.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use db_platform::cache::{Keyspace, Tag};
    /// # use db_platform::{Db, loader::{Children, LoadError, Order, PageOf}};
    /// type Comment = (i64, String);
    ///
    /// /// A transaction that writes a comment touches its post's row of this tag.
    /// static COMMENTS: Keyspace<PageOf<i64, (i64,)>, Arc<[Comment]>> =
    ///     Keyspace::new("comments").tags_of_key(|page| vec![Tag::row("comments.post", page.parent())]);
    ///
    /// # async fn newest(db: Db, comments: Children<i64, Comment, (i64,)>) -> Result<(), LoadError> {
    /// let comments = db.cached_top_loader(&comments, &COMMENTS);
    /// println!("{:?}", comments.load_top(7, 10, Order::Descending).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cached_top_loader<P, V, A>(
        &self,
        children: &Children<P, V, A>,
        keyspace: &'static Keyspace<PageOf<P, A>, Arc<[V]>>,
    ) -> Top<P, V, A>
    where
        P: Serialize + Eq + Hash + Clone + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        A: Serialize + Eq + Hash + Clone + Send + Sync + 'static,
    {
        let ahead = self.ahead(move |pages| keyspace.keys(pages));
        children.behind(ahead).scope_while(self.own_writes())
    }

    fn ahead<F>(&self, keys: F) -> ThroughCache<F> {
        ThroughCache { db: self.of_this_task(), keys, is_past: AttachedCache::is_in_transaction() }
    }
}

/// Answers batches through the cache of a `Db`.
struct ThroughCache<F> {
    db: Db,
    keys: F,
    /// It was made in a transaction, whose writes the cache must not hear of before COMMIT.
    is_past: bool,
}

impl<K, V, F> Ahead<K, V> for ThroughCache<F>
where
    K: Serialize + Eq + Hash + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Keys<K, V> + Send + Sync + 'static,
{
    async fn answer(&self, keys: Vec<K>, statement: Statement<K, V>) -> Result<Found<K, V>> {
        let site = statement.site();
        if self.is_past {
            let work = async move |conn: &mut AsyncPgConnection| statement.run(conn, keys).await;
            return self.db.read_at(site, Freshness::Primary, work).await;
        }
        let load = async move |conn: &mut AsyncPgConnection, missing: Vec<K>| {
            let loaded = statement.run(conn, missing).await?.into_each();
            Ok::<_, Error>(loaded.filter_map(|(key, row)| Some((key, row.transpose()?))).collect::<Vec<_>>())
        };
        let answers = self.db.cached_each(site, (self.keys)(keys), load).await;
        let mut found = Found::new();
        let mut reasons = Vec::new();
        for (key, answer) in answers {
            match answer {
                Ok(Some(CachedValue::Own(value))) => found.insert(key, value),
                Ok(Some(CachedValue::Shared(value))) => found.insert(key, (*value).clone()),
                Ok(None) => found.insert_missing(key),
                Err(CacheError::Load(shared)) => {
                    reasons.push(Arc::clone(&shared.0));
                    found.insert_error(key, Error::Shared(shared.0));
                }
                Err(error) => found.insert_error(key, of_cache(&error)),
            }
        }
        match whole(&reasons, found.len()) {
            // The statement failed for all of them: the batch did.
            Some(reason) => Err(Error::Shared(reason)),
            None => Ok(found),
        }
    }
}

/// The reason of so many failures, if it is the same for all.
fn whole(reasons: &[Arc<Error>], of: usize) -> Option<Arc<Error>> {
    let first = reasons.first()?;
    (reasons.len() == of && reasons.iter().all(|reason| Arc::ptr_eq(reason, first)))
        .then(|| Arc::clone(first))
}

/// What the cache says of a load that has no answer, and that did not fail.
fn of_cache(error: &CacheError<Error>) -> Error {
    match error {
        CacheError::TimedOut(waited) | CacheError::Overloaded(waited) => {
            Error::DeadlineExceeded { waited: *waited }
        }
        CacheError::Load(shared) => Error::Shared(Arc::clone(&shared.0)),
        CacheError::Ended => Error::Client(error.to_string().into()),
    }
}
