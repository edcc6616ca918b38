//! Notices a server that has stopped: it neither answers what it was asked, nor whoever knocks.
//!
//! A statement that takes long is no sign: the server may be at work. So when nothing has been heard from the server for
//! a while although someone waits, it is asked on a connection of its own whether it is there. A process that is stopped,
//! or cut off, does not answer; one that is busy does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use db_core::{LinkEvent, Observe};
use tokio::task::JoinSet;

use crate::inner::Inner;

/// How often it looks.
pub(crate) const INTERVAL: Duration = Duration::from_millis(150);
/// How long nothing must have been heard although someone waits.
const QUIET: Duration = Duration::from_millis(300);
/// How long whoever knocks waits for an answer.
const PATIENCE: Duration = Duration::from_millis(400);

#[derive(Default)]
pub(crate) struct StallWatch {
    knocks: JoinSet<bool>,
}

impl StallWatch {
    /// Knocks where there is reason to; `opening_since` is since when connections have been being opened.
    pub(crate) fn look(&mut self, pool: &Arc<Inner>, opening_since: Option<Instant>) {
        let stalled = pool.is_stalled();
        if !self.knocks.is_empty() || !(stalled || is_quiet(pool, opening_since)) {
            return;
        }
        let (connector, endpoint) = (pool.connector.clone(), pool.endpoint.clone());
        self.knocks.spawn(async move {
            // A refusal is an answer, too: the server is down, and those who connect learn it themselves.
            tokio::time::timeout(PATIENCE, connector.knock(&endpoint)).await.is_ok()
        });
    }

    /// Waits for the end of a knock, where one is under way, and says whether anyone answered.
    pub(crate) async fn answered(&mut self) -> bool {
        match self.knocks.join_next().await {
            Some(answered) => answered.unwrap_or(true),
            None => std::future::pending().await,
        }
    }
}

/// Whether someone waits for the server, and nobody has heard of it.
fn is_quiet(pool: &Inner, opening_since: Option<Instant>) -> bool {
    let now = Instant::now();
    let mut waits = opening_since.is_some_and(|since| now.duration_since(since) > QUIET);
    for wire in pool.leases.alive() {
        let session = wire.session();
        if session.last_heard().is_some_and(|heard| now.saturating_duration_since(heard) <= QUIET) {
            return false;
        }
        waits |= session.waiting_since().is_some_and(|since| now.saturating_duration_since(since) > QUIET);
    }
    waits
}

/// Takes note of whether anyone answered.
pub(crate) fn note(pool: &Arc<Inner>, answered: bool) {
    if pool.stalled.swap(!answered, Ordering::AcqRel) != answered {
        return;
    }
    if answered {
        tracing::info!(endpoint = %pool.endpoint, "the server answers again");
        return;
    }
    tracing::warn!(
        endpoint = %pool.endpoint,
        "the server does not answer: its connections are not handed out until it does"
    );
    let (observers, endpoint) = (pool.connector.observers().clone(), pool.endpoint.clone());
    let event = move |observer: &dyn Observe| observer.on_link(&LinkEvent::Stalled { endpoint: &endpoint });
    tokio::spawn(async move { observers.tell_apart(event).await });
    // What is idle goes; what is in use goes when it comes back.
    pool.generation.fetch_add(1, Ordering::AcqRel);
    drop(pool.retire_idle());
}
