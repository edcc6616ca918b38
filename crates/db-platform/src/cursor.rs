//! Reads the rows of a stream from a server that may answer, and from another one where that helps.

use db_core::{Acquire, Class, Classify, Error, Report, Result, Site};
use db_pool::Pool;
use db_query::{Reading, Returns, Rows, declare};
use db_replica_routing::{Freshness, Routed};

use crate::db::Db;
use crate::timeout::within;

/// The rows of a query.
pub(crate) fn rows<Q, U>(db: Db, site: Site, query: Q, batch_size: u32) -> Rows<U>
where
    Q: Returns<U, Query: 'static, SqlType: 'static> + 'static,
    U: Send + 'static,
{
    let (asked, limit) = (db.clone(), db.timeout());
    let opening = async move { within(limit, open(&asked, site, query)).await };
    let reading =
        Reading::in_batches_of(batch_size).within(limit).failing(move |conn: &mut Routed<Pool>, error| {
            if error.class() == Class::Unavailable {
                db.reader(Freshness::Default).report(conn, Report::ServerGone);
            }
            error
        });
    Rows::start::<Q, _>(opening, reading)
}

/// Opens the cursor on a server that may answer, and on another one where that helps: no row was seen yet.
async fn open<Q, U>(db: &Db, site: Site, query: Q) -> Result<Routed<Pool>>
where
    Q: Returns<U, Query: 'static>,
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
            match declare(&mut conn, query).await {
                Ok(()) => Ok(Ok(conn)),
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
