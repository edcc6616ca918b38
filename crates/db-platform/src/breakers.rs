//! Circuit breakers above the router: one for writes, and one for reads, which other servers may answer.
//!
//! They stand above it because the router waits for a server that takes writes while there is none, as long
//! as a failover may take. Only a call that has waited in vain says that the database is down. A breaker
//! below, at one server's pool, would open within such a failover, and turn away callers that the router
//! serves.

use std::fmt;
use std::sync::Arc;

use db_core::{Acquire, Endpoint, Facts, Opening, Report, Result, Site};
use db_pool::Pool;
use db_replica_routing::{Freshness, Routed, Router};
use db_retry::{BreakerConfig, BreakerStatus, Guarded};

/// The breakers of a [`Db`](crate::Db).
pub(crate) struct Breakers {
    pub(crate) writes: Guarded<Probes>,
    pub(crate) reads: Guarded<Probes>,
}

impl Breakers {
    pub(crate) fn new(router: &Arc<Router<Pool>>, config: &BreakerConfig) -> Self {
        let breaker = |serves| Guarded::new(Probes { router: Arc::clone(router), serves }, config.clone());
        Breakers { writes: breaker(Serves::Writes), reads: breaker(Serves::Reads) }
    }

    pub(crate) fn status(&self) -> [BreakerStatus; 2] {
        [self.writes.status(), self.reads.status()]
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Breakers").field(&self.status()).finish()
    }
}

/// What calls are for.
#[derive(Debug, Clone, Copy)]
enum Serves {
    Writes,
    Reads,
}

/// Where a breaker's own probes get their connections.
pub(crate) struct Probes {
    router: Arc<Router<Pool>>,
    serves: Serves,
}

impl Acquire for Probes {
    type Conn = Routed<Pool>;

    async fn acquire_at(&self, site: Site) -> Result<Routed<Pool>> {
        match self.serves {
            Serves::Writes => self.router.writer().acquire_at(site).await,
            Serves::Reads => self.router.reader(Freshness::Default).acquire_at(site).await,
        }
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }

    fn facts(&self, conn: &Routed<Pool>) -> Facts {
        self.router.writer().facts(conn)
    }

    fn report(&self, conn: &mut Routed<Pool>, what: Report) {
        match self.serves {
            Serves::Writes => self.router.writer().report(conn, what),
            Serves::Reads => self.router.reader(Freshness::Default).report(conn, what),
        }
    }

    fn begin_with(&self, conn: &mut Routed<Pool>, opening: &Opening) -> bool {
        self.router.writer().begin_with(conn, opening)
    }

    /// A probe has a deadline of its own.
    fn server_down(&self, _: &Routed<Pool>) -> impl Future<Output = ()> + Send + use<> {
        std::future::pending()
    }
}
