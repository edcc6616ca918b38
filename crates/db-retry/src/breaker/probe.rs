//! Finds out whether the server behind an open breaker is back: one task, one connection at a time, a real
//! query.

use std::sync::{Arc, Weak};
use std::time::Duration;

use db_core::{Acquire, Error, Report, Result};
use diesel_async::SimpleAsyncConnection;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::guarded::Shared;
use super::machine::BreakerState;
use crate::backoff::{Backoff, Jitter};

/// A pool may hold as many connections that died with the server: so many are tried before the next pause.
const STALE: usize = 16;

/// Starts to probe, unless that is going on, until the breaker is closed or gone.
///
/// Outside of a runtime nothing happens: the next caller that is turned away tries again.
pub(super) fn start<A: Acquire + Send + Sync + 'static>(shared: &Arc<Shared<A>>) {
    let Ok(runtime) = Handle::try_current() else { return };
    if !std::mem::replace(&mut shared.machine().probing, true) {
        let probing = Probing(Arc::downgrade(shared));
        runtime.spawn(probing.run());
    }
}

/// The task. It keeps nothing alive while it waits, and says when it ends, however it does.
struct Probing<A: Acquire>(Weak<Shared<A>>);

impl<A: Acquire> Drop for Probing<A> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.machine().probing = false;
        }
    }
}

impl<A: Acquire + Send + Sync + 'static> Probing<A> {
    async fn run(mut self) {
        let Some((mut backoff, limit)) = self.0.upgrade().map(|shared| {
            let machine = shared.machine();
            let config = machine.config();
            let backoff = Backoff::new(config.probe_after, config.probe_max, 2.0, Jitter::Equal);
            (backoff, config.probe_timeout)
        }) else {
            return;
        };
        loop {
            let pause = backoff.next_pause(&mut rand::rng());
            if let Some(shared) = self.0.upgrade() {
                let at = shared.now() + pause;
                shared.machine().wait_until(at);
            }
            tokio::time::sleep(pause).await;
            let Some(shared) = self.0.upgrade() else { return };
            if probe(&shared, limit).await {
                // Another task may be at work by now: this one has nothing to say about it.
                self.0 = Weak::new();
                return;
            }
        }
    }
}

/// Probes once; true where the breaker is closed now.
async fn probe<A: Acquire>(shared: &Shared<A>, limit: Duration) -> bool {
    shared.machine().probe_started();
    shared.tell(BreakerState::HalfOpen, None);
    let waited = limit;
    let answer = timeout(limit, ask(&shared.inner)).await.unwrap_or(Err(Error::DeadlineExceeded { waited }));
    let server = shared.server();
    match answer {
        Ok(()) => {
            {
                let mut machine = shared.machine();
                machine.probe_succeeded();
                // Under the same lock: should it open again at once, another task must start.
                machine.probing = false;
            }
            tracing::info!(endpoint = %server, "circuit closed: the server answers");
            shared.tell(BreakerState::Closed, None);
            true
        }
        Err(error) => {
            let cause: Arc<str> = Arc::from(error.to_string());
            let now = shared.now();
            tracing::debug!(endpoint = %server, %cause, "the server does not answer yet");
            shared.machine().probe_failed(now, Arc::clone(&cause));
            shared.tell(BreakerState::Open, Some(&cause));
            false
        }
    }
}

/// Gets a connection and an answer on it.
async fn ask<A: Acquire>(from: &A) -> Result<()> {
    let mut tried = 1;
    loop {
        let mut conn = from.acquire().await?;
        match conn.batch_execute("SELECT 1").await {
            Ok(()) => return Ok(()),
            Err(error) => {
                from.report(&mut conn, Report::ServerGone);
                if tried == STALE {
                    return Err(error.into());
                }
                tried += 1;
            }
        }
    }
}
