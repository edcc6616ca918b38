//! Acquires connections on behalf of the service's own code, so that reports name that and not this crate.

use std::panic::Location;

use db_core::{Acquire, Endpoint, Result, SqlState};

/// A source whose acquires are all made for the same caller.
pub(crate) struct CalledAt<'a, A>(pub(crate) &'a A, pub(crate) &'static Location<'static>);

impl<'a, A: Acquire> Acquire for CalledAt<'a, A> {
    type Conn = A::Conn;

    fn acquire(&self) -> impl Future<Output = Result<Self::Conn>> + Send {
        self.0.acquire_at(self.1)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.0.endpoint()
    }

    fn evict(&self, conn: &mut Self::Conn) {
        self.0.evict(conn);
    }

    fn evict_all(&self) {
        self.0.evict_all();
    }

    fn avoid(&self, conn: &mut Self::Conn) {
        self.0.avoid(conn);
    }

    fn gone(&self, conn: &Self::Conn) -> impl Future<Output = ()> + Send + use<'a, A> {
        self.0.gone(conn)
    }

    fn failed_with(&self, conn: &Self::Conn) -> Option<SqlState> {
        self.0.failed_with(conn)
    }
}
