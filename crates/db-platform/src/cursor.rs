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
    // It is read in a task of its own, which is in no request's scope.
    let db = db.session_now().map_or(db.clone(), |session| db.in_session(&session));
    let (asked, limit) = (db.clone(), db.timeout());
    let opening = async move { within(limit, open(&asked, site, query)).await };
    let reading =
        Reading::in_batches_of(batch_size).within(limit).failing(move |conn: &mut Routed<Pool>, error| {
            let reader = db.routed_reader(Freshness::Default);
            let last_words = reader.facts(conn).last_words;
            if error.class() == Class::Unavailable {
                reader.report(conn, Report::ServerGone);
            }
            error.with_last_words(last_words)
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
            match open_on(&db.reader(Freshness::Default), site, query).await {
                // A caller that has waited for as long as it was willing to is not made to wait again.
                Err(error) if error.ends_the_wait() => Ok(Err(error)),
                opened => opened.map(|conn| Ok(conn.into_inner())),
            }
        }
    });
    opened.await?
}

async fn open_on<A, Q, U>(reader: &A, site: Site, query: Q) -> Result<A::Conn>
where
    A: Acquire,
    Q: Returns<U, Query: 'static>,
{
    let mut again = true;
    loop {
        let mut conn = reader.acquire_at(site).await?;
        let Err(error) = declare(&mut conn, query.clone()).await else { return Ok(conn) };
        let facts = reader.facts(&conn);
        // What the connection kept of the database was stale, and nothing was done: another one has it anew.
        if facts.stale && std::mem::take(&mut again) {
            continue;
        }
        let error = Error::from(error).in_read().with_last_words(facts.last_words);
        if error.class() == Class::Unavailable {
            reader.report(&mut conn, Report::ServerGone);
        }
        return Err(error);
    }
}
