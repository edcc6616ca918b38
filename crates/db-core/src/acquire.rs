//! A place where connections come from: the trait that pools, breakers and routers have in common.

use std::ops::DerefMut;

use diesel_async::AsyncPgConnection;

use crate::{Endpoint, Error, Result};

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
    /// [`Error::PoolTimeout`], [`Error::QueueFull`], [`Error::PoolClosed`] or [`Error::Connect`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and loses no connection.
    fn acquire(&self) -> impl Future<Output = Result<Self::Conn>> + Send;

    /// The server that the connections lead to, where there is exactly one.
    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }

    /// Says that connections acquired before now are not to be used again, because of `cause`: the server at their
    /// other end went away or changed its role.
    fn evict(&self, cause: &Error) {
        let _ = cause;
    }
}

impl<A: Acquire + ?Sized> Acquire for &A {
    type Conn = A::Conn;

    fn acquire(&self) -> impl Future<Output = Result<Self::Conn>> + Send {
        (**self).acquire()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        (**self).endpoint()
    }

    fn evict(&self, cause: &Error) {
        (**self).evict(cause);
    }
}
