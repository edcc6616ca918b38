//! The rows of a query too large to hold at once: a cursor on the server, read one batch ahead of the caller.
//!
//! tokio-postgres's own row stream has no backpressure: it reads as fast as the server sends, into memory. A
//! cursor sends what is fetched and no more.

use std::marker::PhantomData;
use std::ops::DerefMut;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use db_core::{Error, Result};
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel_async::{AnsiTransactionManager, AsyncConnectionCore, AsyncPgConnection, TransactionManager};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::kept::Kept;
use crate::query::{self, Returns};

/// Every row is wanted, not the first few soon: the planner is told so.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL cursor_tuple_fraction = 1";

/// The rows of a query, however many.
///
/// At most two batches are in memory: one that the caller works on, and the next, which is fetched meanwhile.
/// The query begins at once, in a task of its own.
///
/// # Cancel safety
/// Dropping it ends the query and gives its connection back.
///
/// ```no_run
/// use db_core::{Acquire, Error, Result};
/// use db_query::{Reading, Rows, declare};
/// use diesel::prelude::*;
/// use futures_util::TryStreamExt;
///
/// diesel::table! { todos (id) { id -> Integer, title -> Text, } }
///
/// async fn export<A: Acquire<Conn: 'static> + Clone + Send + 'static>(source: A) -> Result<()> {
///     let opening = async move {
///         let mut conn = source.acquire().await?;
///         declare(&mut conn, todos::table).await?;
///         Ok(conn)
///     };
///     let mut rows = Rows::<(i32, String)>::start::<todos::table, _>(opening, Reading::in_batches_of(1_000));
///     while let Some((id, title)) = rows.try_next().await? {
///         println!("{id},{title}");
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping the rows ends their query"]
pub struct Rows<U> {
    batch: std::vec::IntoIter<U>,
    batches: mpsc::Receiver<Vec<U>>,
    fetching: Option<JoinHandle<Result<()>>>,
}

type Failed<C> = dyn Fn(&mut C, Error) -> Error + Send;
type ServerDown<C> = dyn Fn(&C) -> BoxFuture<'static, ()> + Send;

/// How rows are read.
///
/// ```
/// use db_query::Reading;
///
/// let reading = Reading::<()>::in_batches_of(1_000).within(Some(std::time::Duration::from_secs(1)));
/// assert_eq!(format!("{reading:?}"), "Reading { batch_size: 1000, limit: Some(1s), .. }");
/// ```
pub struct Reading<C> {
    batch_size: u32,
    limit: Option<Duration>,
    failed: Box<Failed<C>>,
    server_down: Box<ServerDown<C>>,
}

impl<C> Reading<C> {
    /// So many rows at a time; 0 counts as 1.
    pub fn in_batches_of(batch_size: u32) -> Self {
        Reading {
            batch_size: batch_size.max(1),
            limit: None,
            failed: Box::new(|_, error| error),
            server_down: Box::new(|_| Box::pin(std::future::pending())),
        }
    }

    /// The same, where each batch may take so long; `None` is for ever.
    #[must_use]
    pub fn within(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// The same, where `failed` sees each failure of a batch first: it may tell the connection's source, and
    /// say more of the failure.
    #[must_use]
    pub fn failing(mut self, failed: impl Fn(&mut C, Error) -> Error + Send + 'static) -> Self {
        self.failed = Box::new(failed);
        self
    }

    /// The same, where a batch is given up as soon as `server_down` of its connection resolves: its server is
    /// known to be gone, which the connection itself may never notice.
    #[must_use]
    pub fn unless(mut self, server_down: impl Fn(&C) -> BoxFuture<'static, ()> + Send + 'static) -> Self {
        self.server_down = Box::new(server_down);
        self
    }
}

impl<C> std::fmt::Debug for Reading<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reading { batch_size, limit, .. } = self;
        f.debug_struct("Reading")
            .field("batch_size", batch_size)
            .field("limit", limit)
            .finish_non_exhaustive()
    }
}

impl<U: Send + 'static> Rows<U> {
    /// Reads the rows of the query `Q`, whose cursor was [declared](declare) on the connection that `opening`
    /// yields.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<Q, C>(opening: impl Future<Output = Result<C>> + Send + 'static, reading: Reading<C>) -> Self
    where
        Q: Returns<U, SqlType: 'static> + 'static,
        C: DerefMut<Target = AsyncPgConnection> + Send + 'static,
    {
        let (sender, batches) = mpsc::channel(1);
        let fetching = tokio::spawn(async move {
            tokio::select! {
                fetched = fetch_all::<Q, U, C>(opening, reading, &sender) => fetched,
                () = sender.closed() => Ok(()),
            }
        });
        Rows { batch: Vec::new().into_iter(), batches, fetching: Some(fetching) }
    }
}

impl<U> Unpin for Rows<U> {}

impl<U> Stream for Rows<U> {
    type Item = Result<U>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<U>>> {
        let this = self.get_mut();
        loop {
            if let Some(row) = this.batch.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            match ready!(this.batches.poll_recv(context)) {
                Some(batch) => this.batch = batch.into_iter(),
                None => break,
            }
        }
        let Some(fetching) = &mut this.fetching else { return Poll::Ready(None) };
        let fetched = ready!(Pin::new(fetching).poll(context));
        this.fetching = None;
        Poll::Ready(match fetched {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            Err(_) => Some(Err(Error::ConnectionLost { reason: "the runtime is shutting down".to_owned() })),
        })
    }
}

/// Opens the cursor of a query in a read-only transaction.
///
/// # Errors
/// The server's, where it refuses the transaction or the query.
///
/// # Cancel safety
/// Dropping the future leaves a transaction behind: do not use the connection again.
pub async fn declare<Q>(conn: &mut AsyncPgConnection, query: Q) -> QueryResult<()>
where
    Q: AsQuery<Query: QueryFragment<Pg> + Send>,
{
    declare_with(conn, &Kept::new(query.as_query()), None).await
}

/// As [`declare`] of a query that may be declared again, in a transaction that begins with this command, such
/// as a `SET LOCAL`.
///
/// # Errors
/// As [`declare`]; the server's, where it refuses the command.
///
/// # Cancel safety
/// As [`declare`].
pub async fn declare_with<Q>(
    conn: &mut AsyncPgConnection,
    query: &Kept<Q>,
    first: Option<&str>,
) -> QueryResult<()>
where
    Q: QueryFragment<Pg> + Send,
{
    let begin = first.map_or_else(|| BEGIN.to_owned(), |first| format!("{BEGIN}; {first}"));
    AnsiTransactionManager::begin_transaction_sql(&mut *conn, &begin).await?;
    let declared = query.with(|query| conn.execute_returning_count(Declare(query)));
    declared.await?;
    Ok(())
}

async fn fetch_all<Q, U, C>(
    opening: impl Future<Output = Result<C>> + Send,
    reading: Reading<C>,
    batches: &mpsc::Sender<Vec<U>>,
) -> Result<()>
where
    Q: Returns<U, SqlType: 'static>,
    U: Send + 'static,
    C: DerefMut<Target = AsyncPgConnection> + Send,
{
    let Reading { batch_size, limit, failed, server_down } = reading;
    let mut conn = opening.await?;
    let mut down = server_down(&conn);
    loop {
        let Ok(place) = batches.reserve().await else { return Ok(()) };
        let fetch = Fetch { batch_size, columns: PhantomData::<fn() -> Q::SqlType> };
        // Reborrowed, so that no reference to the guard itself is held across a wait.
        let asked: &AsyncPgConnection = &mut conn;
        let fetching = async {
            tokio::select! {
                biased;
                fetched = fetch_rows::<Q, U>(asked, fetch) => fetched,
                () = &mut down => Err(Error::ConnectionLost { reason: "its server went down".to_owned() }),
            }
        };
        let fetched = match limit {
            None => fetching.await,
            Some(waited) => {
                let too_late = Err(Error::DeadlineExceeded { waited });
                tokio::time::timeout(waited, fetching).await.unwrap_or(too_late)
            }
        };
        let rows: Vec<U> = fetched.map_err(|error| failed(&mut conn, error))?;
        let last = rows.len() < batch_size as usize;
        if !rows.is_empty() {
            place.send(rows);
        }
        if last {
            break;
        }
    }
    // Every row was read: what the end of the transaction has to say does not matter, except to the pool.
    if let Err(error) = AnsiTransactionManager::commit_transaction(&mut *conn).await {
        tracing::debug!(%error, "the transaction of a stream did not end in good order");
    }
    Ok(())
}

async fn fetch_rows<Q, U>(conn: &AsyncPgConnection, fetch: Fetch<Q::SqlType>) -> Result<Vec<U>>
where
    Q: Returns<U, SqlType: 'static>,
    U: Send + 'static,
{
    query::rows::<Q, U, _>(conn, fetch).await.map_err(|error| Error::from(error).in_read())
}

/// Opens the cursor of a query.
struct Declare<'q, Q>(&'q Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Declare<'_, Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("DECLARE db_stream NO SCROLL CURSOR FOR ");
        self.0.walk_ast(out)
    }
}

impl<Q> QueryId for Declare<'_, Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// Fetches the next rows of the cursor, which have these columns.
struct Fetch<C> {
    batch_size: u32,
    columns: PhantomData<fn() -> C>,
}

impl<C> QueryFragment<Pg> for Fetch<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Its columns are those of the cursor, and another one will have others.
        out.unsafe_to_cache_prepared();
        out.push_sql(&format!("FETCH FORWARD {} FROM db_stream", self.batch_size));
        Ok(())
    }
}

impl<C> QueryId for Fetch<C> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<C> Query for Fetch<C> {
    type SqlType = C;
}
