//! A place where connections come from: the trait that pools, breakers and routers have in common.

use std::ops::DerefMut;
use std::panic::Location;

use diesel_async::AsyncPgConnection;

use crate::{Endpoint, Facts, Opening, Result, Site};

/// A place where connections come from.
///
/// A pool is one; a circuit breaker and a router's readers wrap one. Code that needs a connection takes an
/// `impl Acquire` and does not know which.
///
/// A wrapper must pass everything on, so nothing that matters has a default: a wrapper that forgets a method
/// does not compile.
///
/// ```
/// use db_core::{Acquire, Endpoint, Facts, Opening, Report, Result, Site};
///
/// struct Counted<A>(A, std::sync::atomic::AtomicU64);
///
/// impl<A: Acquire> Acquire for Counted<A> {
///     type Conn = A::Conn;
///
///     fn acquire_at(&self, site: Site) -> impl Future<Output = Result<A::Conn>> + Send {
///         self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///         self.0.acquire_at(site)
///     }
///     fn endpoint(&self) -> Option<&Endpoint> {
///         self.0.endpoint()
///     }
///     fn facts(&self, conn: &A::Conn) -> Facts {
///         self.0.facts(conn)
///     }
///     fn report(&self, conn: &mut A::Conn, what: Report) {
///         self.0.report(conn, what);
///     }
///     fn begin_with(&self, conn: &mut A::Conn, opening: &Opening) -> bool {
///         self.0.begin_with(conn, opening)
///     }
///     fn server_down(&self, conn: &A::Conn) -> impl Future<Output = ()> + Send + use<A> {
///         self.0.server_down(conn)
///     }
/// }
/// ```
pub trait Acquire: Sync {
    /// The connection, which goes back when it is dropped.
    type Conn: DerefMut<Target = AsyncPgConnection> + Send;

    /// Waits for a connection on behalf of the code at `site`, which leak reports then name.
    ///
    /// # Errors
    /// One that [`is_before_work`](crate::Error::is_before_work): [`PoolTimeout`](crate::Error::PoolTimeout),
    /// [`QueueFull`](crate::Error::QueueFull), [`PoolClosed`](crate::Error::PoolClosed),
    /// [`CircuitOpen`](crate::Error::CircuitOpen), [`NoServer`](crate::Error::NoServer) or
    /// [`Connect`](crate::Error::Connect).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and loses no connection.
    fn acquire_at(&self, site: Site) -> impl Future<Output = Result<Self::Conn>> + Send;

    /// A connection that is there at once: what [`Acquire::acquire_at`] would answer when it is first looked
    /// at, where nothing is waited for and nobody is asked.
    ///
    /// It spares the most common case a future with room for all that may have to be waited for. None says
    /// nothing: `acquire_at` decides. So a source that has no such shorter way leaves it as it is here.
    fn acquire_now(&self, site: Site) -> Option<Self::Conn> {
        let _ = site;
        None
    }

    /// Waits for a connection on behalf of the caller.
    ///
    /// # Errors
    /// As [`Acquire::acquire_at`].
    ///
    /// # Cancel safety
    /// As [`Acquire::acquire_at`].
    #[track_caller]
    fn acquire(&self) -> impl Future<Output = Result<Self::Conn>> + Send {
        self.acquire_at(Location::caller())
    }

    /// The server that the connections lead to, where there is exactly one.
    fn endpoint(&self) -> Option<&Endpoint>;

    /// What is known of this connection now; [`Facts::UNKNOWN`] where the source does not read the wire.
    fn facts(&self, conn: &Self::Conn) -> Facts;

    /// Says what work on this connection ran into, which the source must know.
    fn report(&self, conn: &mut Self::Conn, what: Report);

    /// Has a transaction's BEGIN travel with the next request on this connection, in the same message; false
    /// where the source cannot do that, and the caller sends it by itself.
    ///
    /// From then on the connection is to be used as if the transaction was open, and no request may be queued
    /// on it before. Where the server refuses BEGIN, the next request is answered with that error, and every
    /// other one as in a failed transaction until a ROLLBACK: no statement runs outside. [`Facts::begin`]
    /// tells how far it has come.
    ///
    /// Source: the PostgreSQL manual, "Extended Query": after an error the server skips what follows up to
    /// the next Sync.
    fn begin_with(&self, conn: &mut Self::Conn, opening: &Opening) -> bool;

    /// Resolves when the server at the other end is known to be gone, which the connection itself may never
    /// notice (a stopped server, a network that swallows packets): the caller may give up its answer and go
    /// elsewhere.
    ///
    /// A source that does not watch its server answers [`std::future::pending`].
    fn server_down(&self, conn: &Self::Conn) -> impl Future<Output = ()> + Send + use<Self>;
}

/// What work on a connection ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Report {
    /// The server at the other end went away or changed its role: neither this connection nor, for now,
    /// another one to that server should be handed out.
    ServerGone,
    /// What the server does besides cancelled the work (40001 on a standby, where replay was in the way): the
    /// next acquire should lead to another server. This connection is well.
    Conflict,
    /// COMMIT was sent and its answer has not come: the connection is closed when it comes back, and nothing
    /// is cancelled on it. A cancel would end the server's wait for its synchronous standby, and with that
    /// the guarantee which the caller asks for.
    CommitUnanswered,
}

/// A source that can close all of its connections at once.
pub trait EvictAll {
    /// The server's role changed, or the name leads elsewhere: connections that lie idle are closed now, and
    /// those in use when they come back.
    fn evict_all(&self);
}

impl<'a, A: Acquire + ?Sized> Acquire for &'a A {
    type Conn = A::Conn;

    fn acquire_at(&self, site: Site) -> impl Future<Output = Result<Self::Conn>> + Send {
        (**self).acquire_at(site)
    }

    fn acquire_now(&self, site: Site) -> Option<Self::Conn> {
        (**self).acquire_now(site)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        (**self).endpoint()
    }

    fn facts(&self, conn: &Self::Conn) -> Facts {
        (**self).facts(conn)
    }

    fn report(&self, conn: &mut Self::Conn, what: Report) {
        (**self).report(conn, what);
    }

    fn begin_with(&self, conn: &mut Self::Conn, opening: &Opening) -> bool {
        (**self).begin_with(conn, opening)
    }

    fn server_down(&self, conn: &Self::Conn) -> impl Future<Output = ()> + Send + use<'a, A> {
        (**self).server_down(conn)
    }
}

impl<A: EvictAll + ?Sized> EvictAll for &A {
    fn evict_all(&self) {
        (**self).evict_all();
    }
}

/// A wrapper that forgets one method does not compile: the same program with and without each.
#[cfg(doctest)]
mod forgotten {
    macro_rules! wrapper {
        ($name:ident: $outcome:literal, $($method:literal)*) => {
            #[doc = concat!(
                "```", $outcome, "\n",
                "use db_core::{Acquire, Endpoint, Facts, Opening, Report, Result, Site};\n",
                "struct Wrapper<A>(A);\n",
                "impl<A: Acquire> Acquire for Wrapper<A> {\n",
                "type Conn = A::Conn;\n",
                $($method, "\n",)*
                "}\n```"
            )]
            struct $name;
        };
    }
    wrapper!(Whole: "",
        "fn acquire_at(&self, site: Site) -> impl Future<Output = Result<A::Conn>> + Send { self.0.acquire_at(site) }"
        "fn endpoint(&self) -> Option<&Endpoint> { self.0.endpoint() }"
        "fn facts(&self, conn: &A::Conn) -> Facts { self.0.facts(conn) }"
        "fn report(&self, conn: &mut A::Conn, what: Report) { self.0.report(conn, what); }"
        "fn begin_with(&self, conn: &mut A::Conn, opening: &Opening) -> bool { self.0.begin_with(conn, opening) }"
        "fn server_down(&self, conn: &A::Conn) -> impl Future<Output = ()> + Send + use<A> { self.0.server_down(conn) }");
    wrapper!(WithoutAcquire: "compile_fail,E0046",
        "fn endpoint(&self) -> Option<&Endpoint> { self.0.endpoint() }"
        "fn facts(&self, conn: &A::Conn) -> Facts { self.0.facts(conn) }"
        "fn report(&self, conn: &mut A::Conn, what: Report) { self.0.report(conn, what); }"
        "fn begin_with(&self, conn: &mut A::Conn, opening: &Opening) -> bool { self.0.begin_with(conn, opening) }"
        "fn server_down(&self, conn: &A::Conn) -> impl Future<Output = ()> + Send + use<A> { self.0.server_down(conn) }");
    wrapper!(WithoutEndpoint: "compile_fail,E0046",
        "fn acquire_at(&self, site: Site) -> impl Future<Output = Result<A::Conn>> + Send { self.0.acquire_at(site) }"
        "fn facts(&self, conn: &A::Conn) -> Facts { self.0.facts(conn) }"
        "fn report(&self, conn: &mut A::Conn, what: Report) { self.0.report(conn, what); }"
        "fn begin_with(&self, conn: &mut A::Conn, opening: &Opening) -> bool { self.0.begin_with(conn, opening) }"
        "fn server_down(&self, conn: &A::Conn) -> impl Future<Output = ()> + Send + use<A> { self.0.server_down(conn) }");
    wrapper!(WithoutFacts: "compile_fail,E0046",
        "fn acquire_at(&self, site: Site) -> impl Future<Output = Result<A::Conn>> + Send { self.0.acquire_at(site) }"
        "fn endpoint(&self) -> Option<&Endpoint> { self.0.endpoint() }"
        "fn report(&self, conn: &mut A::Conn, what: Report) { self.0.report(conn, what); }"
        "fn begin_with(&self, conn: &mut A::Conn, opening: &Opening) -> bool { self.0.begin_with(conn, opening) }"
        "fn server_down(&self, conn: &A::Conn) -> impl Future<Output = ()> + Send + use<A> { self.0.server_down(conn) }");
    wrapper!(WithoutReport: "compile_fail,E0046",
        "fn acquire_at(&self, site: Site) -> impl Future<Output = Result<A::Conn>> + Send { self.0.acquire_at(site) }"
        "fn endpoint(&self) -> Option<&Endpoint> { self.0.endpoint() }"
        "fn facts(&self, conn: &A::Conn) -> Facts { self.0.facts(conn) }"
        "fn begin_with(&self, conn: &mut A::Conn, opening: &Opening) -> bool { self.0.begin_with(conn, opening) }"
        "fn server_down(&self, conn: &A::Conn) -> impl Future<Output = ()> + Send + use<A> { self.0.server_down(conn) }");
    wrapper!(WithoutServerDown: "compile_fail,E0046",
        "fn acquire_at(&self, site: Site) -> impl Future<Output = Result<A::Conn>> + Send { self.0.acquire_at(site) }"
        "fn endpoint(&self) -> Option<&Endpoint> { self.0.endpoint() }"
        "fn facts(&self, conn: &A::Conn) -> Facts { self.0.facts(conn) }"
        "fn report(&self, conn: &mut A::Conn, what: Report) { self.0.report(conn, what); }"
        "fn begin_with(&self, conn: &mut A::Conn, opening: &Opening) -> bool { self.0.begin_with(conn, opening) }");
    wrapper!(WithoutBegin: "compile_fail,E0046",
        "fn acquire_at(&self, site: Site) -> impl Future<Output = Result<A::Conn>> + Send { self.0.acquire_at(site) }"
        "fn endpoint(&self) -> Option<&Endpoint> { self.0.endpoint() }"
        "fn facts(&self, conn: &A::Conn) -> Facts { self.0.facts(conn) }"
        "fn report(&self, conn: &mut A::Conn, what: Report) { self.0.report(conn, what); }"
        "fn server_down(&self, conn: &A::Conn) -> impl Future<Output = ()> + Send + use<A> { self.0.server_down(conn) }");
}
