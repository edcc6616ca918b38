//! The `search_path` of a transaction: the server's own while we ask, its user's while rows are made.

use tokio_postgres::Transaction;

use crate::error::{Error, Result};

/// Makes names mean the server's own, and texts of times one form. Returns the path of before.
pub(crate) async fn own_path(transaction: &Transaction<'_>) -> Result<String> {
    let path = transaction.query_one("SELECT pg_catalog.current_setting('search_path')", &[]).await;
    let path = path.map_err(Error::database("reading search_path"))?.get(0);
    set_path(transaction, "pg_catalog, pg_temp").await?;
    let forms =
        "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'postgres'";
    transaction.batch_execute(forms).await.map_err(Error::database("setting the session's forms"))?;
    Ok(path)
}

/// Gives the path of before back.
pub(crate) async fn restore_path(transaction: &Transaction<'_>, path: &str) -> Result<()> {
    set_path(transaction, path).await
}

/// Makes this the path until the transaction ends.
pub(crate) async fn set_path(transaction: &Transaction<'_>, path: &str) -> Result<()> {
    let set = transaction.execute("SELECT pg_catalog.set_config('search_path', $1, true)", &[&path]).await;
    set.map(|_| ()).map_err(Error::database("setting search_path"))
}
