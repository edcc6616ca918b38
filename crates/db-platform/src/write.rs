//! One statement as a write: a transaction of its own, in one round trip where nothing forbids it.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use db_core::{AroundCommit, Error, Result, Site};
use db_query::{Kept, Returns, is_of_rows};
use db_replica_routing::Session;
use db_retry::{CommitHooks, Resolve, Statement};
use diesel::pg::Pg;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;

use crate::db::Db;

/// The answer to a statement.
type Answer<'c, T> = BoxFuture<'c, QueryResult<T>>;

/// A write of one statement that is about to run; made by [`Db::build_write`].
///
/// ```no_run
/// # use db_platform::{Db, Result};
/// # use diesel::prelude::*;
/// # diesel::table! { todos (id) { id -> Integer, done -> Bool, } }
/// # async fn close(db: Db) -> Result<()> {
/// // It may be applied twice, so it runs again where its answer was lost.
/// let done = diesel::update(todos::table.find(7)).set(todos::done.eq(true));
/// db.build_write().idempotent().run(done).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing runs until run or returning"]
pub struct WriteBuilder<'a> {
    db: &'a Db,
    idempotent: bool,
}

impl Db {
    /// Runs one statement that writes, on the primary, and returns how many rows it wrote.
    ///
    /// The verb is not `execute`, which diesel's `RunQueryDsl` gives to every value there is. It is a
    /// transaction of its own and takes one round trip, once its connection has it prepared (two for a
    /// `sql_query`, which diesel prepares each time): no BEGIN and no COMMIT go around it. What was not sent,
    /// and what the server refused and may accept later (40001, 40P01, a standby after a failover), runs
    /// again, and a session's reads see what it wrote, as for [`Db::transaction`].
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn rename(db: Db) -> Result<()> {
    /// let renamed = diesel::update(todos::table.find(7)).set(todos::title.eq("buy milk"));
    /// assert_eq!(db.write(renamed).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Nothing identifies such a transaction. Where its answer is lost after it was sent, the outcome is
    /// unknown, also where the same server goes on. If that must not be, mark it: with
    /// `DB_COMMIT_MARKERS=true` it runs as a [`Db::transaction`] of one statement, in two round trips, and is
    /// resolved as these are. It does as well with [`Db::with_timeout`] and [`Db::with_search_path`], where a
    /// part or a cache must hear of each COMMIT, and where it is a command other than SELECT, INSERT, UPDATE,
    /// DELETE, MERGE, VALUES or TABLE: `CALL` may not commit inside then. What refuses to run in a
    /// transaction, such as `VACUUM`, goes through [`Db::primary`].
    ///
    /// # Errors
    /// The server's; [`Error::CommitUnknown`] where the answer was lost and nobody can tell what became of
    /// it.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement, which is cancelled on the server and may have been
    /// applied.
    #[track_caller]
    pub fn write<'a, Q>(&'a self, query: Q) -> BoxFuture<'a, Result<usize>>
    where
        Q: QueryFragment<Pg> + QueryId + Send + 'a,
    {
        self.build_write().run(query)
    }

    /// As [`Db::write`], for a statement that returns rows: `INSERT … RETURNING`.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn add(db: Db) -> Result<()> {
    /// let row = diesel::insert_into(todos::table).values(todos::title.eq("buy milk")).returning(todos::id);
    /// let ids: Vec<i32> = db.write_returning(row).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::write`]; [`Error::CommitUnknown`] as well where it was applied and its rows could not be read
    /// as `U`.
    ///
    /// # Cancel safety
    /// As [`Db::write`].
    #[track_caller]
    pub fn write_returning<'a, Q, U>(&'a self, query: Q) -> BoxFuture<'a, Result<Vec<U>>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        self.build_write().returning(query)
    }

    /// As [`Db::write_returning`], for a statement that returns one row.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn add(db: Db) -> Result<i32> {
    /// let row = diesel::insert_into(todos::table).values(todos::title.eq("buy milk"));
    /// db.write_row(row.returning(todos::id)).await
    /// # }
    /// ```
    ///
    /// Where it may find none, such as an `UPDATE` or an `ON CONFLICT DO NOTHING`, and that is no error:
    /// `db.write_returning(query).await?.pop()`.
    ///
    /// # Errors
    /// As [`Db::write_returning`]; [`Error::NotFound`] where it returned no row. What it wrote stays written,
    /// also where it returned several rows, of which this is the first.
    ///
    /// # Cancel safety
    /// As [`Db::write`].
    #[track_caller]
    pub fn write_row<'a, Q, U>(&'a self, query: Q) -> BoxFuture<'a, Result<U>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        let returning = self.build_write().returning(query);
        Box::pin(async move { returning.await?.into_iter().next().ok_or(Error::NotFound) })
    }

    /// Whether nothing must happen inside of a transaction besides its statements, and nothing must be found
    /// out of it later: then it needs no BEGIN.
    pub(crate) fn needs_no_begin(&self) -> bool {
        self.begin().resolve != Resolve::ByMarker
            && !self.parts().hook_commits()
            && self.timeout().is_none()
            && self.retry().path().is_none()
            && self.retry().config().transaction_timeout.is_none()
    }

    /// A write of one statement that differs from the default.
    pub fn build_write(&self) -> WriteBuilder<'_> {
        WriteBuilder { db: self, idempotent: false }
    }
}

impl<'a> WriteBuilder<'a> {
    /// It may be applied twice: where it cannot be found out what became of it, it runs again.
    ///
    /// [`Error::CommitUnknown`] is left where no attempt was answered.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Runs it, and returns how many rows it wrote.
    ///
    /// # Errors
    /// As [`Db::write`].
    ///
    /// # Cancel safety
    /// As [`Db::write`].
    #[track_caller]
    pub fn run<Q>(self, query: Q) -> BoxFuture<'a, Result<usize>>
    where
        Q: QueryFragment<Pg> + QueryId + Send + 'a,
    {
        let site = Location::caller();
        if !self.may_stand_alone(&query) {
            let statement = Arc::new(Counted(Kept::new(query)));
            return self.in_transaction(async move |conn| Ok(statement.send(conn).await?));
        }
        self.alone(site, Counted(Kept::new(query)))
    }

    /// Runs it, and returns its rows.
    ///
    /// # Errors
    /// As [`Db::write_returning`].
    ///
    /// # Cancel safety
    /// As [`Db::write`].
    #[track_caller]
    pub fn returning<Q, U>(self, query: Q) -> BoxFuture<'a, Result<Vec<U>>>
    where
        Q: Returns<U, Query: 'a> + 'a,
        U: Send + 'a,
    {
        let (site, query) = (Location::caller(), query.as_query());
        if !self.may_stand_alone(&query) {
            let statement = Arc::new(Read::<Q, U>(Kept::new(query), PhantomData));
            return self.in_transaction(async move |conn| Ok(statement.send(conn).await?));
        }
        self.alone(site, Read::<Q, U>(Kept::new(query), PhantomData))
    }

    /// Whether the statement may be a transaction of its own: nothing must happen inside of it besides,
    /// nothing must be found out of it later, and it does nothing but write or read rows.
    fn may_stand_alone(&self, statement: &impl QueryFragment<Pg>) -> bool {
        self.db.needs_no_begin() && is_of_rows(statement)
    }

    #[track_caller]
    fn in_transaction<T: Send + 'a>(
        self,
        work: impl db_core::Work<T, Error> + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        let transaction = self.db.build_transaction();
        if self.idempotent { transaction.idempotent().run(work) } else { transaction.run(work) }
    }

    fn alone<T: Send + 'a>(self, site: Site, statement: impl Statement<T> + 'a) -> BoxFuture<'a, Result<T>> {
        let WriteBuilder { db, idempotent } = self;
        let session = db.session_to_write_in();
        if session.is_none() {
            db.note_lost_writes(site);
        }
        Box::pin(async move {
            let _counted = db.counts_write();
            let _told = db.tells_process(session.as_ref());
            let writer = db.writer();
            let commit = session.as_ref().map(Session::commit);
            let hook = commit.as_ref().map(|commit| ("session", commit as &dyn AroundCommit));
            let around = CommitHooks::new(hook);
            db.retry().statement_at(site, &writer, &around, idempotent, statement).await
        })
    }
}

/// A statement whose rows are counted.
struct Counted<Q>(Kept<Q>);

impl<Q> Statement<usize> for Counted<Q>
where
    Q: QueryFragment<Pg> + QueryId + Send,
{
    fn send<'c>(&'c self, conn: &'c AsyncPgConnection) -> Answer<'c, usize> {
        self.0.affected(conn)
    }
}

/// A statement whose rows are read as those of `Q`.
struct Read<Q: Returns<U>, U>(Kept<Q::Query>, PhantomData<fn() -> U>);

impl<Q: Returns<U>, U: Send> Statement<Vec<U>> for Read<Q, U> {
    fn send<'c>(&'c self, conn: &'c AsyncPgConnection) -> Answer<'c, Vec<U>> {
        self.0.rows::<Q, U>(conn)
    }
}
