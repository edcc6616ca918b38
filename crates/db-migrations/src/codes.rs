//! The SQLSTATE of the last failure, from whoever opened the connection: diesel's errors have none, and the
//! server's messages are in any language.

use std::fmt;
use std::sync::Arc;

use db_core::{Error, SqlState};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

/// Asks what the last failure's code was.
#[derive(Clone)]
pub(crate) struct Codes(Arc<dyn Fn() -> Option<SqlState> + Send + Sync>);

impl Codes {
    pub(crate) fn new(last: impl Fn() -> Option<SqlState> + Send + Sync + 'static) -> Self {
        Codes(Arc::new(last))
    }
}

/// The code of a failure that has just come; from the error itself where nobody else knows.
///
/// The server sends an error at once and the end of its answer after it, and observers hear of a statement at
/// its end. So an empty query goes first, which is also answered in a transaction that failed: what comes
/// behind that end.
pub(crate) async fn of(
    codes: Option<&Codes>,
    conn: &mut AsyncPgConnection,
    error: &Error,
) -> Option<SqlState> {
    let Some(codes) = codes else { return error.sqlstate() };
    match conn.batch_execute("").await {
        Ok(()) => codes.0().or_else(|| error.sqlstate()),
        Err(_) => error.sqlstate(),
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codes")
    }
}
