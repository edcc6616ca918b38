//! A [`Db`] for a task that waits, and must not keep it open meanwhile.

use std::sync::{Arc, Weak};

use db_pool::Pool;
use db_replica_routing::Router;

use super::Db;
use crate::breakers::Breakers;
use crate::parts::Parts;

type MakeDb = dyn Fn(Arc<Router<Pool>>, Arc<Parts>, Option<Arc<Breakers>>) -> Db + Send + Sync;

/// A handle that keeps no pool open. The cache that it leads to is kept by its caller.
pub(crate) struct WeakDb {
    router: Weak<Router<Pool>>,
    parts: Weak<Parts>,
    breakers: Option<Weak<Breakers>>,
    /// Makes a handle of these.
    rest: Box<MakeDb>,
}

impl WeakDb {
    /// The database, while anybody has a handle.
    pub(crate) fn upgrade(&self) -> Option<Db> {
        let breakers = match &self.breakers {
            Some(breakers) => Some(breakers.upgrade()?),
            None => None,
        };
        Some((self.rest)(self.router.upgrade()?, self.parts.upgrade()?, breakers))
    }
}

impl Db {
    /// This handle, without keeping anything open; in no session.
    pub(crate) fn downgrade(&self) -> WeakDb {
        let (retry, timeout, lost_writes) = (self.retry.clone(), self.timeout, self.lost_writes.clone());
        let (cache, is_pooled, writes) = (self.cache.clone(), self.is_pooled, Arc::clone(&self.writes));
        #[cfg(feature = "otel")]
        let meter = Arc::clone(&self.meter);
        #[cfg(feature = "monitoring")]
        let (monitor, watched) = (self.monitor.clone(), Arc::clone(&self.watched));
        #[cfg(feature = "alerts")]
        let alerts = self.alerts.clone();
        #[cfg(all(feature = "collector", feature = "insight"))]
        let insights = self.insights.clone();
        #[cfg(any(feature = "migrations", feature = "report"))]
        let direct = self.direct.clone();
        #[cfg(feature = "migrations")]
        let ledger_schema = self.ledger_schema.clone();
        #[cfg(feature = "maintenance")]
        let upkeep = self.upkeep.clone();
        #[cfg(all(feature = "monitoring", feature = "otel"))]
        let namespace = Arc::clone(&self.namespace);
        let rest = move |router, parts, breakers| Db {
            router,
            parts,
            breakers,
            retry: retry.clone(),
            timeout,
            session: None,
            writes: Arc::clone(&writes),
            lost_writes: lost_writes.clone(),
            cache: cache.clone(),
            is_pooled,
            #[cfg(feature = "otel")]
            meter: Arc::clone(&meter),
            #[cfg(feature = "monitoring")]
            monitor: monitor.clone(),
            #[cfg(feature = "monitoring")]
            watched: Arc::clone(&watched),
            #[cfg(feature = "alerts")]
            alerts: alerts.clone(),
            #[cfg(all(feature = "collector", feature = "insight"))]
            insights: insights.clone(),
            #[cfg(any(feature = "migrations", feature = "report"))]
            direct: direct.clone(),
            #[cfg(feature = "migrations")]
            ledger_schema: ledger_schema.clone(),
            #[cfg(feature = "maintenance")]
            upkeep: upkeep.clone(),
            #[cfg(all(feature = "monitoring", feature = "otel"))]
            namespace: Arc::clone(&namespace),
        };
        WeakDb {
            router: Arc::downgrade(&self.router),
            parts: Arc::downgrade(&self.parts),
            breakers: self.breakers.as_ref().map(Arc::downgrade),
            rest: Box::new(rest),
        }
    }
}
