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

    /// Says that the server's role changed: connections that lie idle are closed, and those in use when they come back.
    fn evict_all(&self) {}

    /// Says that work on this connection was cancelled by what its server does besides (40001 on a standby, where replay
    /// was in the way): the next acquire should lead to another server.
    fn avoid(&self, conn: &mut Self::Conn) {
        let _ = conn;
    }

    /// Resolves when the server at the other end is known to be gone, which the connection itself may never notice (a
    /// stopped server, a network that swallows packets): whoever waits for an answer may give up and go elsewhere.
    fn gone(&self, conn: &Self::Conn) -> impl Future<Output = ()> + Send + use<Self> {
        let _ = conn;
        std::future::pending()
    }
}

impl<'a, A: Acquire + ?Sized> Acquire for &'a A {
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

    fn evict_all(&self) {
        (**self).evict_all();
    }

    fn avoid(&self, conn: &mut Self::Conn) {
        (**self).avoid(conn);
    }

    fn gone(&self, conn: &Self::Conn) -> impl Future<Output = ()> + Send + use<'a, A> {
        (**self).gone(conn)
    }
}
