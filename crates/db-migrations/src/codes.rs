//! The SQLSTATE of the last failure, from whoever opened the connection: diesel's errors have none, and the server's messages
//! are in any language.

use std::fmt;
use std::sync::Arc;

use db_core::{Error, SqlState};

/// Asks what the last failure's code was.
#[derive(Clone)]
pub(crate) struct Codes(Arc<dyn Fn() -> Option<SqlState> + Send + Sync>);

impl Codes {
    pub(crate) fn new(last: impl Fn() -> Option<SqlState> + Send + Sync + 'static) -> Self {
        Codes(Arc::new(last))
    }
}

/// The code of a failure that has just come; from the error itself where nobody else knows.
pub(crate) fn of(codes: Option<&Codes>, error: &Error) -> Option<SqlState> {
    codes.and_then(|codes| codes.0()).or_else(|| error.sqlstate())
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codes")
    }
}
