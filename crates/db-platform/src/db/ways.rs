//! How a handle's reads and transactions reach servers, and in which session they are.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_core::{Error, Result, Site, Work};
use db_pool::Pool;
use db_replica_routing::{Freshness, Reader, Router, Session};
use db_retry::{Begin, Resolve, Through, within};
use futures_util::future::BoxFuture;

use super::Db;
use crate::breakers::Probes;

impl Db {
    /// A load for the cache. Its callers wait for it, and what it must see was often committed a moment ago:
    /// where no standby has that yet, the primary answers at once.
    #[cfg(feature = "cache")]
    pub(crate) fn load_at<'a, T, E>(
        &'a self,
        site: Site,
        freshness: Freshness,
        work: impl Work<T, E> + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        T: Send + 'a,
        E: Into<Error> + Send + 'a,
    {
        let reader = move || self.behind_breaker(freshness, self.routed_reader(freshness).without_waiting());
        self.read_by(site, reader, work)
    }

    /// A read on what `reader` makes when it begins.
    pub(super) fn read_by<'a, T, E>(
        &'a self,
        site: Site,
        reader: impl FnOnce() -> Through<'a, Probes, Reader<'a, Pool>> + Send + 'a,
        work: impl Work<T, E> + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        T: Send + 'a,
        E: Into<Error> + Send + 'a,
    {
        // Boxed: futures that wrap one another grow to many kilobytes, and rustc 1.95 fails in an incremental
        // build where `select!` meets a future with a closure such as this one in its type.
        Box::pin(async move {
            let reader = reader();
            // Pinned here: `within` would move it, and it is large.
            let reading = pin!(self.retry.read_at(site, &reader, work));
            within(self.timeout, reading).await
        })
    }

    /// What is asked for by name is what is meant; else a session's own writes are to be seen.
    pub(crate) fn reader(&self, freshness: Freshness) -> Through<'_, Probes, Reader<'_, Pool>> {
        self.behind_breaker(freshness, self.routed_reader(freshness))
    }

    fn behind_breaker<'a>(
        &'a self,
        freshness: Freshness,
        reader: Reader<'a, Pool>,
    ) -> Through<'a, Probes, Reader<'a, Pool>> {
        let breaker = self.breakers.as_deref().map(|breakers| match freshness {
            Freshness::Primary => &breakers.writes,
            _ => &breakers.reads,
        });
        Through::new(breaker, reader)
    }

    /// The same without a breaker.
    pub(crate) fn routed_reader(&self, freshness: Freshness) -> Reader<'_, Pool> {
        let freshness = match freshness {
            Freshness::Default => self.router.freshness_in(self.session_now().as_ref()),
            freshness => freshness,
        };
        self.router.reader(freshness)
    }

    /// The handle's own session, else that of the request that this task works for.
    pub(crate) fn session_now(&self) -> Option<Session> {
        self.session.clone().or_else(Session::current)
    }

    /// The session that a transaction of this handle is in.
    pub(crate) fn session_to_write_in(&self) -> Option<Session> {
        self.session_now().or_else(|| self.router.process_session().cloned())
    }

    /// How a transaction begins that does not say otherwise.
    pub(crate) fn begin(&self) -> Begin {
        let resolve = match self.retry.config().commit_markers {
            true => Resolve::ByMarker,
            false => Resolve::default(),
        };
        Begin { resolve, ..Begin::default() }
    }

    /// Tells the process what a session has written, when the value is dropped.
    pub(crate) fn tells_process(&self, session: Option<&Session>) -> Option<TellsProcess> {
        let process = self.router.process_session()?;
        let session = session.filter(|session| !session.is(process))?;
        Some(TellsProcess { router: Arc::clone(&self.router), session: session.clone() })
    }

    /// A transaction in no session begins here.
    pub(crate) fn note_lost_writes(&self, site: Site) {
        if let Some(lost_writes) = &self.lost_writes {
            lost_writes.transaction(site);
        }
    }

    /// Counts a transaction that may write, when the value is dropped.
    pub(crate) fn counts_write(&self) -> CountsWrite {
        CountsWrite(Arc::clone(&self.writes))
    }

    /// Answers with a number that goes up whenever what this handle has read may have been written since: by
    /// the session, and where there is none by any transaction of this process.
    pub(crate) fn own_writes(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let (session, writes) = (self.session_now(), Arc::clone(&self.writes));
        move || session.as_ref().map_or_else(|| AtomicU64::load(&writes, Ordering::Acquire), Session::writes)
    }
}

/// Tells the process what a session has written, also where the caller gives up.
pub(crate) struct TellsProcess {
    router: Arc<Router<Pool>>,
    session: Session,
}

impl Drop for TellsProcess {
    fn drop(&mut self) {
        self.router.heard_of(&self.session);
    }
}

pub(crate) struct CountsWrite(Arc<AtomicU64>);

impl Drop for CountsWrite {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}
