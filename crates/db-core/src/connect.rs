//! Opening one connection to one server.

use diesel_async::AsyncPgConnection;

use crate::{Endpoint, Result};

/// Opens one connection to an [`Endpoint`], with login, start-up options and a deadline over all of it.
///
/// Implemented by `db-pool`; used by whoever needs a connection of its own: routing monitors, collectors,
/// migrations.
pub trait Connect: Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect), within the connector's deadline.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt; the server may see a connection that closes at once.
    fn connect(&self, endpoint: &Endpoint) -> impl Future<Output = Result<AsyncPgConnection>> + Send;
}

impl<C: Connect + ?Sized> Connect for std::sync::Arc<C> {
    fn connect(&self, endpoint: &Endpoint) -> impl Future<Output = Result<AsyncPgConnection>> + Send {
        (**self).connect(endpoint)
    }
}
