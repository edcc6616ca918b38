//! One statement as a read: its rows, without a closure around it.

use std::sync::Arc;

use db_core::{Error, Result};
use db_query::{Kept, Returns};
use db_retry::Condition;
use futures_util::future::BoxFuture;

use crate::db::Db;
use crate::read::ReadBuilder;

impl Db {
    /// Reads with one statement, and returns its rows; routed and tried again as [`Db::read`], of which it is
    /// the short form.
    ///
    /// It takes any query, also one that was boxed (`into_boxed`) and one that borrows what it compares with.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn titles(db: Db, part: Option<&str>) -> Result<Vec<String>> {
    /// let mut found = todos::table.select(todos::title).into_boxed();
    /// if let Some(part) = part {
    ///     found = found.filter(todos::title.like(format!("%{part}%")));
    /// }
    /// db.rows(found.limit(20)).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::read`].
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn rows<'a, Q, U>(&'a self, query: Q) -> BoxFuture<'a, Result<Vec<U>>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        self.build_read().rows(query)
    }

    /// As [`Db::rows`], for a query that finds one row.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn count(db: Db) -> Result<i64> {
    /// db.row(todos::table.count()).await
    /// # }
    /// ```
    ///
    /// All that the query finds is fetched: diesel's `first` is `limit(1)` here.
    ///
    /// # Errors
    /// As [`Db::read`]; [`Error::NotFound`] where it finds none.
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn row<'a, Q, U>(&'a self, query: Q) -> BoxFuture<'a, Result<U>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        self.build_read().row(query)
    }

    /// As [`Db::row`], for a query that may find none.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn title(db: Db, id: i32) -> Result<Option<String>> {
    /// db.maybe_row(todos::table.find(id).select(todos::title)).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::read`].
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn maybe_row<'a, Q, U>(&'a self, query: Q) -> BoxFuture<'a, Result<Option<U>>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        self.build_read().maybe_row(query)
    }
}

impl<'a, C: Condition<Error> + 'a> ReadBuilder<'a, C> {
    /// Runs one statement, as [`Db::rows`].
    ///
    /// # Errors
    /// As [`Db::read`].
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn rows<Q, U>(self, query: Q) -> BoxFuture<'a, Result<Vec<U>>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        let query = Arc::new(Kept::new(query.as_query()));
        self.run(async move |conn| query.rows::<Q, U>(conn).await)
    }

    /// Runs one statement, as [`Db::row`].
    ///
    /// # Errors
    /// As [`Db::row`].
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn row<Q, U>(self, query: Q) -> BoxFuture<'a, Result<U>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        let row = self.maybe_row(query);
        Box::pin(async move { row.await?.ok_or(Error::NotFound) })
    }

    /// Runs one statement, as [`Db::maybe_row`].
    ///
    /// # Errors
    /// As [`Db::read`].
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn maybe_row<Q, U>(self, query: Q) -> BoxFuture<'a, Result<Option<U>>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        let rows = self.rows(query);
        Box::pin(async move { Ok(rows.await?.into_iter().next()) })
    }
}
