//! A statement that is kept, so that every attempt can send it.

use std::sync::{Mutex, PoisonError};

use diesel::pg::Pg;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel_async::{AsyncConnectionCore, AsyncPgConnection};
use futures_util::future::BoxFuture;

use crate::query::{self, Returns};

/// A statement that can be sent as often as it takes, also one that was boxed (`into_boxed`): that is neither
/// `Clone` nor `Sync`, and behind an `Arc` this is both.
///
/// It is read while it is sent, not while its answer is awaited.
///
/// ```no_run
/// use db_query::Kept;
/// use diesel::prelude::*;
/// use diesel_async::AsyncPgConnection;
///
/// diesel::table! { todos (id) { id -> Integer, done -> Bool, } }
///
/// async fn twice(conn: &AsyncPgConnection) -> QueryResult<usize> {
///     let kept = Kept::new(diesel::delete(todos::table.filter(todos::done)).into_boxed());
///     Ok(kept.affected(conn).await? + kept.affected(conn).await?)
/// }
/// ```
#[derive(Debug)]
pub struct Kept<S>(Mutex<S>);

impl<S> Kept<S> {
    /// Keeps a statement.
    pub fn new(statement: S) -> Self {
        Kept(Mutex::new(statement))
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: QueryFragment<Pg> + QueryId> Kept<S> {
    /// Sends it, and counts the rows that it affects.
    pub fn affected<'c>(&self, conn: &'c AsyncPgConnection) -> BoxFuture<'c, QueryResult<usize>> {
        let mut conn = conn;
        self.with(|statement| AsyncConnectionCore::execute_returning_count(&mut conn, statement))
    }

    pub(crate) fn binds_own_type(&self) -> bool {
        self.with(query::binds_own_type)
    }
}

impl<S: Query + QueryFragment<Pg> + QueryId> Kept<S> {
    /// Sends it, and reads its rows as those of `Q`.
    ///
    /// They are read to the end also where one cannot be: what goes wrong at the end would be lost else.
    pub fn rows<'c, Q, U>(&self, conn: &'c AsyncPgConnection) -> BoxFuture<'c, QueryResult<Vec<U>>>
    where
        Q: Returns<U, Query = S>,
        U: Send + 'c,
    {
        self.with(|statement| query::rows::<Q, U, &S>(conn, statement))
    }
}
