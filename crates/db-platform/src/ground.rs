//! What parts stand on: the servers, the way to them, and a place for their jobs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use db_core::{Connect, DatabaseUrl, Endpoint, Host, OpenDirect, Result, Server, foreign};
use db_pool::Connector;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::servers::{Servers, open_direct};

/// The jobs of one part.
#[derive(Default)]
pub(crate) struct Jobs {
    part: &'static str,
    panicked: AtomicBool,
    /// None once they were abandoned: none starts any more.
    running: Mutex<Option<Vec<AbortHandle>>>,
}

impl Jobs {
    pub(crate) fn of(part: &'static str) -> Arc<Self> {
        Arc::new(Jobs { part, running: Mutex::new(Some(Vec::new())), ..Jobs::default() })
    }

    /// Whether one of them did.
    pub(crate) fn panicked(&self) -> bool {
        AtomicBool::load(&self.panicked, Ordering::Relaxed)
    }

    /// Ends those that still run, and lets no other one start.
    pub(crate) fn abandon(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        running.into_iter().flatten().for_each(|job| job.abort());
    }

    fn spawn(self: &Arc<Self>, runtime: &Handle, job: BoxFuture<'static, ()>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &mut *running else { return };
        let jobs = Arc::clone(self);
        let task = runtime.spawn(async move {
            if foreign::run(job).await.is_none() {
                jobs.panicked.store(true, Ordering::Relaxed);
                tracing::error!(part = jobs.part, "a job of a part panicked and has ended");
            }
        });
        running.retain(|job| !job.is_finished());
        running.push(task.abort_handle());
    }
}

/// What is the same for all parts.
pub(crate) struct Standing {
    pub(crate) servers: Arc<Servers>,
    /// The primary past any pooler.
    pub(crate) direct: Connector,
    /// Tells which servers are known now.
    pub(crate) look: Arc<dyn Fn() -> Vec<Server> + Send + Sync>,
}

impl Standing {
    /// The same, for a part with these jobs.
    pub(crate) fn for_part(&self, jobs: &Arc<Jobs>) -> PartGround {
        PartGround {
            servers: Arc::clone(&self.servers),
            direct_url: self.direct.url().clone(),
            open: open_direct(self.direct.clone()),
            look: Arc::clone(&self.look),
            jobs: Arc::clone(jobs),
            runtime: Handle::current(),
        }
    }
}

/// What one part stands on.
pub(crate) struct PartGround {
    servers: Arc<Servers>,
    direct_url: DatabaseUrl,
    open: OpenDirect,
    look: Arc<dyn Fn() -> Vec<Server> + Send + Sync>,
    jobs: Arc<Jobs>,
    runtime: Handle,
}

impl Host for PartGround {
    fn direct_url(&self) -> &DatabaseUrl {
        &self.direct_url
    }

    fn servers(&self) -> Vec<Server> {
        (self.look)()
    }

    fn connect<'a>(&'a self, to: Option<&'a Endpoint>) -> BoxFuture<'a, Result<AsyncPgConnection>> {
        Box::pin(async move {
            match to {
                Some(endpoint) => self.servers.connector(endpoint).connect(endpoint).await,
                None => Ok((self.open)(None).await?.1),
            }
        })
    }

    fn connect_in<'a>(
        &'a self,
        database: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(Endpoint, AsyncPgConnection)>> {
        (self.open)(database.map(Arc::from))
    }

    fn spawn(&self, job: BoxFuture<'static, ()>) {
        self.jobs.spawn(&self.runtime, job);
    }
}

/// Ends a part's jobs when it is dropped: the part has stopped, or never started.
pub(crate) struct Ends(pub(crate) Arc<Jobs>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
