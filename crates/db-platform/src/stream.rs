//! The rows of a query too large to hold at once: a cursor on the server, read one batch ahead of the caller.
//!
//! tokio-postgres's own row stream has no backpressure: it reads as fast as the server sends, into memory. A cursor
//! sends what is fetched and no more.

use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use db_core::{Acquire, Class, Classify, Error, Report, Result, Site};
use db_pool::Pool;
use db_replica_routing::{Freshness, Routed};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel_async::{AnsiTransactionManager, RunQueryDsl, TransactionManager};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::db::Db;
use crate::query::{self, Returns};
use crate::timeout::within;

/// Every row is wanted, not the first few soon: the planner is told so.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL cursor_tuple_fraction = 1";

/// The rows of a query, as [`Db::stream`] reads them.
///
/// At most two batches are in memory: one that the caller works on, and the next, which is fetched meanwhile.
///
/// # Cancel safety
/// Dropping it ends the query and gives its connection back.
#[derive(Debug)]
#[must_use = "a stream does nothing until it is polled"]
pub struct Rows<U> {
    batch: std::vec::IntoIter<U>,
    batches: mpsc::Receiver<Vec<U>>,
    fetching: Option<JoinHandle<Result<()>>>,
}

/// Which database is asked, and where in the caller's code.
pub(crate) struct Asked {
    pub(crate) db: Db,
    pub(crate) site: Site,
}

impl<U: Send + 'static> Rows<U> {
    pub(crate) fn start<Q>(asked: Asked, query: Q, batch_size: u32) -> Self
    where
        Q: Returns<U, Query: 'static, SqlType: 'static> + 'static,
    {
        let (sender, batches) = mpsc::channel(1);
        let fetching = tokio::spawn(async move {
            tokio::select! {
                fetched = fetch_all::<Q, U>(asked, query, batch_size.max(1), &sender) => fetched,
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

async fn fetch_all<Q, U>(
    asked: Asked,
    query: Q,
    batch_size: u32,
    batches: &mpsc::Sender<Vec<U>>,
) -> Result<()>
where
    Q: Returns<U, Query: 'static, SqlType: 'static>,
    U: Send + 'static,
{
    let Asked { db, site } = asked;
    let mut conn = within(db.timeout(), declare(&db, site, query.as_query())).await?;
    loop {
        let Ok(place) = batches.reserve().await else { return Ok(()) };
        let fetch = Fetch { batch_size, columns: PhantomData::<fn() -> Q::SqlType> };
        let fetching = async {
            query::rows::<Q, U, _>(&conn, fetch).await.map_err(|error| Error::from(error).in_read())
        };
        let rows: Vec<U> = within(db.timeout(), fetching).await.inspect_err(|error: &Error| {
            if error.class() == Class::Unavailable {
                db.reader(Freshness::Default).report(&mut conn, Report::ServerGone);
            }
        })?;
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

/// Opens the cursor on a server that may answer, and on another one where that helps: no row was seen yet.
async fn declare<Q>(db: &Db, site: Site, query: Q) -> Result<Routed<Pool>>
where
    Q: QueryFragment<Pg> + Clone + Send,
{
    let opened = db.retry().run(move |_| {
        let query = query.clone();
        async move {
            let reader = db.reader(Freshness::Default);
            let mut conn = match reader.acquire_at(site).await {
                Ok(conn) => conn,
                // A caller that has waited for as long as it was willing to is not made to wait again.
                Err(error) if error.ends_the_wait() => return Ok(Err(error)),
                Err(error) => return Err(error),
            };
            let declared = async {
                AnsiTransactionManager::begin_transaction_sql(&mut *conn, BEGIN).await?;
                Declare(query).execute(&mut *conn).await
            };
            match declared.await {
                Ok(_) => Ok(Ok(conn)),
                Err(error) => {
                    let error = Error::from(error).in_read();
                    if error.class() == Class::Unavailable {
                        reader.report(&mut conn, Report::ServerGone);
                    }
                    Err(error)
                }
            }
        }
    });
    opened.await?
}

/// Opens the cursor of a query.
struct Declare<Q>(Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Declare<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("DECLARE db_stream NO SCROLL CURSOR FOR ");
        self.0.walk_ast(out)
    }
}

impl<Q> QueryId for Declare<Q> {
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
