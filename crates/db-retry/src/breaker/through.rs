//! Another way to the servers behind a breaker, where there is one.

use std::fmt;

use db_core::{Acquire, Endpoint, Facts, Opening, Report, Result, Site};

use super::connection::GuardedConnection;
use super::guarded::{Guarded, admitted, report};

/// A place where connections come from, behind somebody else's breaker; or behind none.
///
/// A router makes a place for each call, such as one for reads of a certain freshness: all of them share one
/// [`Guarded`], whose probes go its own way. Where there is no breaker nothing is counted and nobody is
/// turned away, so that a service can switch it on and off.
///
/// ```
/// use db_core::Acquire;
/// use db_retry::{Guarded, Through};
///
/// async fn of<A: Acquire + Send + Sync + 'static>(
///     breaker: Option<&Guarded<A>>,
///     reader: impl Acquire + Send,
/// ) -> db_core::Result<()> {
///     let conn = Through::new(breaker, reader).acquire().await?;
///     drop(conn);
///     Ok(())
/// }
/// ```
pub struct Through<'a, A, B> {
    breaker: Option<&'a Guarded<A>>,
    way: B,
}

impl<'a, A, B> Through<'a, A, B> {
    /// Puts `way` behind the breaker.
    pub fn new(breaker: Option<&'a Guarded<A>>, way: B) -> Self {
        Through { breaker, way }
    }
}

impl<'a, A, B> Acquire for Through<'a, A, B>
where
    A: Acquire + Send + Sync + 'static,
    B: Acquire + Send,
{
    type Conn = GuardedConnection<B>;

    async fn acquire_at(&self, site: Site) -> Result<Self::Conn> {
        match self.breaker {
            Some(breaker) => admitted(&breaker.shared, &self.way, site).await,
            None => self.way.acquire_at(site).await.map(|conn| GuardedConnection { conn, visit: None }),
        }
    }

    /// None where there is a breaker: whom it lets through is counted, and that goes on until the connection
    /// is there.
    fn acquire_now(&self, site: Site) -> Option<Self::Conn> {
        match self.breaker {
            Some(_) => None,
            None => self.way.acquire_now(site).map(|conn| GuardedConnection { conn, visit: None }),
        }
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.way.endpoint()
    }

    fn facts(&self, guarded: &Self::Conn) -> Facts {
        self.way.facts(&guarded.conn)
    }

    fn report(&self, guarded: &mut Self::Conn, what: Report) {
        report(&self.way, guarded, what);
    }

    fn begin_with(&self, guarded: &mut Self::Conn, opening: &Opening) -> bool {
        self.way.begin_with(&mut guarded.conn, opening)
    }

    fn server_down(&self, guarded: &Self::Conn) -> impl Future<Output = ()> + Send + use<'a, A, B> {
        self.way.server_down(&guarded.conn)
    }
}

impl<A, B: fmt::Debug> fmt::Debug for Through<'_, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Through").field("way", &self.way).field("guarded", &self.breaker.is_some()).finish()
    }
}
