//! A read in a `search_path`: a read-only transaction, which ends with the path.

use db_core::{Acquire, Class, Classify, Error, Once, Opening, Result};
use diesel_async::SimpleAsyncConnection;

use crate::diesel_state::{inside_transaction, outside_transaction};
use crate::ended::ended_inside;
use crate::search_path::SearchPath;

/// Runs a read in a read-only transaction that has the path: the server has said so before the work begins.
pub(crate) async fn read_in_path<A, T, E>(
    from: &A,
    conn: &mut A::Conn,
    path: &SearchPath,
    work: impl Once<T, E>,
) -> Result<T>
where
    A: Acquire,
    T: Send,
    E: Into<Error> + Send,
{
    inside_transaction(conn)?;
    let opening = Opening::new("BEGIN READ ONLY").then(path.set_local());
    if !from.begin_with(conn, &opening) {
        conn.batch_execute(&opening.sql()).await?;
    }
    let begun = from.facts(conn);
    let worked: Result<T> = work(conn).await.map_err(Into::into);
    if worked.as_ref().is_err_and(|error| error.class() == Class::Unavailable) {
        // The pool finds out what is left of the connection.
        return worked;
    }
    let ended = ended_inside(&begun, &from.facts(conn));
    if worked.is_err() && ended.is_none() {
        // Its own error counts, also where BEGIN was refused and ROLLBACK is what is left to do.
        if conn.batch_execute("ROLLBACK").await.is_ok() {
            outside_transaction(conn);
        }
        return worked;
    }
    conn.batch_execute("COMMIT").await?;
    outside_transaction(conn);
    match ended {
        None => worked,
        Some(reason) => {
            Err(Error::TransactionEnded { reason: format!("{reason}, and with it the search_path {path}") })
        }
    }
}
