//! Reads the rows of a stream from a server that may answer, and from another one where that helps.

use std::sync::Arc;
use std::time::Duration;

use db_core::{Acquire, Class, Classify, Error, Report, Result, Site};
use db_pool::Pool;
use db_query::{Kept, Reading, Returns, Rows, declare_with};
use db_replica_routing::{Freshness, Routed};
use db_retry::{SearchPath, within};
use diesel_async::AsyncPgConnection;

use crate::db::Db;

/// The rows of a query.
pub(crate) fn rows<Q, U>(db: Db, site: Site, query: Q, batch_size: u32) -> Rows<U>
where
    Q: Returns<U, Query: 'static, SqlType: 'static> + 'static,
    U: Send + 'static,
{
    // It is read in a task of its own, which is in no request's scope.
    let db = db.session_now().map_or(db.clone(), |session| db.in_session(&session));
    let (asked, watched, limit) = (db.clone(), db.clone(), Limit::of(&db));
    let opening = async move { within(asked.timeout(), open(&asked, site, query)).await };
    let reading = Reading::in_batches_of(batch_size)
        .within(limit.of_a_batch)
        .unless(move |conn| Box::pin(watched.routed_reader(Freshness::Default).server_down(conn)))
        .failing(move |conn: &mut Routed<Pool>, error| {
            let reader = db.routed_reader(Freshness::Default);
            let last_words = reader.facts(conn).last_words;
            let silent = limit.is_the_servers && matches!(error, Error::DeadlineExceeded { .. });
            if silent || error.class() == Class::Unavailable {
                reader.report(conn, Report::ServerGone);
            }
            error.with_last_words(last_words)
        });
    Rows::start::<Q, _>(opening, reading)
}

/// How long one batch may take.
#[derive(Debug, Clone, Copy)]
struct Limit {
    of_a_batch: Option<Duration>,
    /// Whether a server that lives would have ended the statement by then.
    is_the_servers: bool,
}

impl Limit {
    fn of(db: &Db) -> Self {
        match (db.timeout(), db.retry().config().read_timeout) {
            (Some(own), Some(servers)) if servers < own => {
                Limit { of_a_batch: Some(servers), is_the_servers: true }
            }
            (None, servers) => Limit { of_a_batch: servers, is_the_servers: true },
            (own, _) => Limit { of_a_batch: own, is_the_servers: false },
        }
    }
}

/// Opens the cursor on a server that may answer, and on another one where that helps: no row was seen yet.
async fn open<Q, U>(db: &Db, site: Site, query: Q) -> Result<Routed<Pool>>
where
    Q: Returns<U, Query: 'static>,
{
    let reader = db.reader(Freshness::Default);
    let path = db.retry().path().map(SearchPath::set_local);
    let query = Arc::new(Kept::new(query.as_query()));
    let declaring =
        async move |conn: &mut AsyncPgConnection| declare_with(conn, &query, path.as_deref()).await;
    Ok(db.retry().begin_at(site, &reader, declaring).await?.1.into_inner())
}
