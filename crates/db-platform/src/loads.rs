//! Loaders whose batches are reads of a `Db`: routed, tried again, and in the request's session.

use std::hash::Hash;

use db_core::{Error, Result, Site, Work};
use db_loader::{Children, Connections, Loader, Query, Top};
use db_replica_routing::Freshness;

use crate::db::Db;

impl Db {
    /// A loader for one request or job, which remembers what it loaded; its batches are reads of this handle.
    ///
    /// They are in the session that this task runs in, where it runs in one, so that they see what the
    /// request has written, and the loader forgets what it remembers when the session writes. Without a
    /// session nobody knows whose a write is: then it forgets after every transaction of this process that
    /// may write. Of what is written through [`Db::primary`] or past this process, tell it:
    /// [`Loader::clear`], [`Loader::prime`]. In a transaction use [`lend`](db_loader::lend) and
    /// [`Query::within`].
    ///
    /// ```no_run
    /// # use db_platform::{Db, loader::{LoadError, Query}};
    /// # async fn authors(db: Db, names: Query<i32, String>) -> Result<(), LoadError> {
    /// let names = db.loader(&names);
    /// let (one, two) = tokio::join!(names.get(1), names.get(2));
    /// println!("{:?} {:?}", one?, two?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn loader<K, V>(&self, query: &Query<K, V>) -> Loader<K, V>
    where
        K: Eq + Hash + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        query.on(self.of_this_task()).scope_while(self.own_writes())
    }

    /// As [`Db::loader`], of the first so many children of a parent.
    pub fn top_loader<P, V, A>(&self, children: &Children<P, V, A>) -> Top<P, V, A>
    where
        P: Eq + Hash + Clone + Send + Sync + 'static,
        V: Send + Sync + 'static,
        A: Eq + Hash + Clone + Send + Sync + 'static,
    {
        children.on(self.of_this_task()).scope_while(self.own_writes())
    }

    /// A batch runs in a task of its own, which is in no request's scope.
    pub(crate) fn of_this_task(&self) -> Db {
        self.session_now().map_or_else(|| self.clone(), |session| self.in_session(&session))
    }
}

impl Connections for Db {
    async fn run<T: Send + 'static>(&self, site: Site, work: impl Work<T, Error> + 'static) -> Result<T> {
        self.read_at(site, Freshness::Default, work).await
    }
}
