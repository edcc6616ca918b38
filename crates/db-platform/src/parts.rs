//! The parts that siblings attach to a [`Db`](crate::Db): started after the servers are known, stopped in
//! reverse before the pools.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_core::{
    AroundCommit, CheckStatus, Condition, ConnectionHook, Error, Ground, MakeAroundCommit, Measure, Observe,
    Part, PartCheck, PartHealth, Result, Running, Start, foreign,
};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::ground::{Ends, Jobs, Standing};

/// How one part is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PartStatus {
    /// Its name.
    pub name: &'static str,
    /// How it is.
    pub health: PartHealth,
}

/// What parts want of the connections, before there are any.
#[derive(Default)]
pub(crate) struct Wants {
    pub(crate) observers: Vec<Arc<dyn Observe>>,
    pub(crate) on_connect: Vec<(&'static str, ConnectionHook)>,
    pub(crate) on_checkout: Vec<(&'static str, ConnectionHook)>,
    commit_hooks: Vec<(&'static str, MakeAroundCommit)>,
    starts: Vec<(&'static str, Start)>,
}

impl Wants {
    pub(crate) fn of(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut wants = Wants::default();
        for part in parts {
            let name = part.name;
            wants.observers.extend(part.observe);
            wants.on_connect.extend(part.on_connect.map(|hook| (name, hook)));
            wants.on_checkout.extend(part.on_checkout.map(|hook| (name, hook)));
            wants.commit_hooks.extend(part.around_commit.map(|make| (name, make)));
            wants.starts.extend(part.start.map(|start| (name, start)));
        }
        wants
    }

    /// Starts the parts in their order; where one does not start, those before it are stopped again.
    ///
    /// # Errors
    /// The error of the part that did not start; one that panics is an [`Error::Client`] that names it.
    pub(crate) async fn start(self, standing: &Standing, grace: Duration) -> Result<Parts> {
        let parts = Parts { commit_hooks: self.commit_hooks, ..Parts::default() };
        for (name, start) in self.starts {
            let ends = Ends(Jobs::of(name));
            let ground = Ground::new(standing.for_part(&ends.0));
            // Called inside, because a closure that starts may panic before there is a future.
            let started = foreign::run(async { start(ground).await }).await;
            match started
                .unwrap_or_else(|| Err(Error::Client(format!("part {name:?} panicked at its start").into())))
            {
                Ok(running) => parts.running().push(Attached::new(name, running, ends)),
                Err(error) => {
                    drop(ends);
                    parts.stop(grace).await;
                    return Err(error);
                }
            }
        }
        Ok(parts)
    }
}

/// The parts of a [`Db`](crate::Db).
#[derive(Default)]
pub(crate) struct Parts {
    commit_hooks: Vec<(&'static str, MakeAroundCommit)>,
    running: Mutex<Vec<Attached>>,
    /// Held while they are stopped.
    stopping: tokio::sync::Mutex<()>,
}

struct Attached {
    seen: Seen,
    stop: Stop,
    ends: Ends,
}

type Stop = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What may be looked at without the lock: a part's own code may ask for the health of all.
#[derive(Clone)]
struct Seen {
    name: &'static str,
    health: Arc<dyn Fn() -> PartHealth + Send + Sync>,
    metrics: Arc<dyn Fn() -> Vec<Measure> + Send + Sync>,
    checks: Arc<dyn Fn() -> Vec<PartCheck> + Send + Sync>,
    jobs: Arc<Jobs>,
}

impl Attached {
    fn new(name: &'static str, running: Running, ends: Ends) -> Self {
        let (health, metrics) = (running.health.into(), running.metrics.into());
        let (checks, jobs) = (running.checks.into(), Arc::clone(&ends.0));
        Attached { seen: Seen { name, health, metrics, checks, jobs }, stop: running.stop, ends }
    }
}

impl Parts {
    /// The hooks of one transaction; a part whose hook cannot be made is left out of it.
    pub(crate) fn commit_hooks(&self) -> Vec<(&'static str, Box<dyn AroundCommit>)> {
        let make = |(name, make): &(&'static str, MakeAroundCommit)| {
            let hook = foreign::call(|| make());
            if hook.is_none() {
                tracing::error!(part = name, "a part could not make its hook around COMMIT: it panicked");
            }
            Some((*name, hook?))
        };
        self.commit_hooks.iter().filter_map(make).collect()
    }

    /// Whether any of them does something around COMMIT.
    pub(crate) fn hook_commits(&self) -> bool {
        !self.commit_hooks.is_empty()
    }

    /// How each is.
    pub(crate) fn health(&self) -> Vec<PartStatus> {
        let status = |part: Seen| {
            let health = match part.jobs.panicked() {
                true => PartHealth::new(Condition::Down, "one of its jobs panicked"),
                false => foreign::call(|| (part.health)())
                    .unwrap_or_else(|| PartHealth::new(Condition::Down, "its health check panicked")),
            };
            PartStatus { name: part.name, health }
        };
        self.seen().into_iter().map(status).collect()
    }

    /// What all of them report.
    pub(crate) fn metrics(&self) -> Vec<Measure> {
        let report = |part: Seen| {
            foreign::call(|| (part.metrics)()).unwrap_or_else(|| {
                tracing::error!(part = part.name, "a part could not report its metrics: it panicked");
                Vec::new()
            })
        };
        self.seen().into_iter().flat_map(report).collect()
    }

    /// What all of them checked; of one that panics, that it did.
    pub(crate) fn checks(&self) -> Vec<PartCheck> {
        let checks = |part: Seen| {
            foreign::call(|| (part.checks)()).unwrap_or_else(|| {
                let why = CheckStatus::Skipped("its checks panicked".to_owned());
                vec![PartCheck::new("part-checks", "Checks of a part", why).about(part.name)]
            })
        };
        self.seen().into_iter().flat_map(checks).collect()
    }

    /// Stops them, the last one first; what is not done within `grace` is dropped.
    pub(crate) async fn stop(&self, grace: Duration) {
        let by = Instant::now().checked_add(grace);
        // A second call waits for the first: the pools are closed behind the last part.
        let _stopping = self.stopping.lock().await;
        loop {
            // Taken out one by one: whoever drops this half-way leaves the others to be stopped.
            let Some(part) = self.running().pop() else { return };
            let Attached { seen: part, stop, ends } = part;
            let stopping = foreign::run(async { stop().await });
            let stopped = match by {
                Some(by) => tokio::time::timeout_at(by, stopping).await.ok(),
                None => Some(stopping.await),
            };
            match stopped {
                Some(Some(())) => {}
                Some(None) => tracing::error!(part = part.name, "a part panicked while it stopped"),
                None => tracing::warn!(part = part.name, ?grace, "a part did not stop in time, and is left"),
            }
            drop(ends);
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.running().iter().map(|part| part.seen.clone()).collect()
    }

    fn running(&self) -> MutexGuard<'_, Vec<Attached>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.running().iter().map(|part| part.seen.name).collect();
        f.debug_tuple("Parts").field(&names).finish()
    }
}
