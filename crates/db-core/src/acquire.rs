//! A place where connections come from: the trait that pools, breakers and routers have in common.

use std::ops::DerefMut;
use std::panic::Location;

use diesel_async::AsyncPgConnection;

use crate::{Endpoint, Result, SqlState};

/// A place where connections come from.
///
/// A pool is one; a circuit breaker and a router's readers wrap one. Whoever needs a connection takes an
/// `impl Acquire` and does not know which.
pub trait Acquire: Sync {
    /// The connection, which goes back when it is dropped.
    type Conn: DerefMut<Target = AsyncPgConnection> + Send;

    /// Waits for a connection.
    ///
    /// # Errors
    /// [`PoolTimeout`](crate::Error::PoolTimeout), [`QueueFull`](crate::Error::QueueFull),
    /// [`PoolClosed`](crate::Error::PoolClosed) or [`Connect`](crate::Error::Connect).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and loses no connection.
    fn acquire(&self) -> impl Future<Output = Result<Self::Conn>> + Send;

    /// Waits for a connection on behalf of whoever called at `site`, which leak reports then name.
    ///
    /// A source that wraps another one passes the site on.
    ///
    /// # Errors
    /// As [`Acquire::acquire`].
    ///
    /// # Cancel safety
    /// As [`Acquire::acquire`].
    fn acquire_at(
        &self,
        site: &'static Location<'static>,
    ) -> impl Future<Output = Result<Self::Conn>> + Send {
        let _ = site;
        self.acquire()
    }

    /// The server that the connections lead to, where there is exactly one.
    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }

    /// Says that work on this connection failed because the server at its other end went away or changed its role:
    /// neither this connection nor, for now, another one to that server should be handed out.
    fn evict(&self, conn: &mut Self::Conn) {
        let _ = conn;
    }

    /// The code of the server's error that failed the transaction now open on this connection, where the source reads
    /// the wire.
    ///
    /// It is what the server said, whatever the caller's own error type made of it.
    fn failed_with(&self, conn: &Self::Conn) -> Option<SqlState> {
        let _ = conn;
        None
    }
}

impl<A: Acquire + ?Sized> Acquire for &A {
    type Conn = A::Conn;

    fn acquire(&self) -> impl Future<Output = Result<Self::Conn>> + Send {
        (**self).acquire()
    }

    fn acquire_at(
        &self,
        site: &'static Location<'static>,
    ) -> impl Future<Output = Result<Self::Conn>> + Send {
        (**self).acquire_at(site)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        (**self).endpoint()
    }

    fn evict(&self, conn: &mut Self::Conn) {
        (**self).evict(conn);
    }

    fn failed_with(&self, conn: &Self::Conn) -> Option<SqlState> {
        (**self).failed_with(conn)
    }
}
