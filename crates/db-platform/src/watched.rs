//! What is looked at beside the statements, once it is there: the servers, the cache, what checks found.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use db_monitoring::CheckResult;
use db_pool::Pool;
use db_replica_routing::Router;

use crate::parts::Parts;

/// What checks found; none where this process does not look at the server.
pub(crate) type LookAtChecks = Arc<dyn Fn() -> Option<Vec<CheckResult>> + Send + Sync>;
/// How many reads the cache was asked for so far, and how many it answered.
pub(crate) type CountReads = Arc<dyn Fn() -> (u64, u64) + Send + Sync>;

const MINUTE: Duration = Duration::from_secs(60);

/// What is collected of the server, and what the checks find in it.
#[cfg(feature = "collector")]
pub(crate) struct Collected {
    pub(crate) collector: db_monitoring::server::Collector,
    pub(crate) checker: db_monitoring::checks::Checker,
    /// Whether a part of ours judges what is read, as soon as it was read.
    pub(crate) is_own: bool,
}

#[cfg(feature = "collector")]
impl Collected {
    /// What the checks found; none before they have looked.
    pub(crate) fn results(&self) -> Option<Arc<Vec<CheckResult>>> {
        if self.is_own { self.checker.last() } else { Some(self.checker.results()) }
    }
}

/// What is looked at beside the statements. Each part comes when it is made, because parts are made before
/// there is a [`Db`](crate::Db).
#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) router: OnceLock<Weak<Router<Pool>>>,
    pub(crate) cache: OnceLock<CountReads>,
    pub(crate) checks: OnceLock<LookAtChecks>,
    #[cfg(feature = "collector")]
    pub(crate) collected: OnceLock<Collected>,
    pub(crate) parts: OnceLock<Weak<Parts>>,
    cache_reads: Mutex<VecDeque<(Instant, u64, u64)>>,
}

impl Watched {
    /// The servers.
    #[cfg(feature = "alerts")]
    pub(crate) fn topology(&self) -> Option<db_replica_routing::Topology> {
        self.router.get().and_then(Weak::upgrade).map(|router| router.topology())
    }

    /// What checks found, and what the parts checked of themselves.
    pub(crate) fn checks(&self) -> Option<Vec<CheckResult>> {
        let (found, parts) = (self.found(), self.part_checks());
        if found.is_none() && parts.is_empty() {
            return None;
        }
        Some(found.into_iter().flatten().chain(parts).collect())
    }

    /// What checks found last.
    fn found(&self) -> Option<Vec<CheckResult>> {
        if let Some(look) = self.checks.get() {
            return look();
        }
        #[cfg(feature = "collector")]
        return self.collected.get()?.results().map(|results| results.to_vec());
        #[cfg(not(feature = "collector"))]
        None
    }

    /// What the parts checked of themselves.
    pub(crate) fn part_checks(&self) -> Vec<CheckResult> {
        let parts = self.parts.get().and_then(Weak::upgrade).map(|parts| parts.checks()).unwrap_or_default();
        parts.into_iter().map(CheckResult::from).collect()
    }

    /// Whether another process of the service looks into the database, so that this one sees only a part of
    /// it.
    #[cfg(feature = "alerts")]
    pub(crate) fn leaves_it_to_another(&self) -> bool {
        self.checks.get().is_none() && self.collected.get().is_some_and(|one| !one.collector.is_leader())
    }

    /// How many reads the cache was asked for in the last minute, as far as anybody looked, and how many it
    /// answered; none without a cache.
    pub(crate) fn cache_reads(&self, now: Instant) -> Option<(u64, u64)> {
        let (asked, answered) = self.cache.get()?();
        let mut notes = self.cache_reads.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |(at, ..): &(Instant, u64, u64), old| now.saturating_duration_since(*at) >= old;
        // One that is older than a minute stays, to compare with.
        while notes.get(1).is_some_and(|note| is_old(note, MINUTE)) {
            notes.pop_front();
        }
        if notes.back().is_none_or(|note| is_old(note, MINUTE / 60)) {
            notes.push_back((now, asked, answered));
        }
        let (asked_then, answered_then) = match (notes.len(), notes.front()) {
            (2.., Some((_, asked, answered))) => (*asked, *answered),
            // Nobody has looked before: since the start.
            _ => (0, 0),
        };
        Some((asked.saturating_sub(asked_then), answered.saturating_sub(answered_then)))
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}
