//! The one connection that all callers share, opened again where it has ended.
//!
//! One task opens it, however many wait and whoever of them gives up. Where it cannot be opened, callers are
//! told at once until the next attempt is due: no caller waits for a server that is down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Connection, Opener};
use crate::tier_error::{TierError, TierFailure};

/// A connection that is there as long as the server is.
#[derive(Debug, Clone)]
pub(super) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opener: Arc<Opener>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
enum State {
    /// There is none, and none was asked for.
    Closed,
    Opening,
    Open(Arc<Connection>),
    /// The last attempts failed, and the next one is due then.
    Failed {
        until: Instant,
        attempts: u32,
        why: TierError,
    },
}

/// Between the first attempts that fail.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Between later ones: a server that is back is found within that.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

impl Link {
    pub(super) fn new(opener: Arc<Opener>) -> Self {
        Link(Arc::new(Inner { opener, state: Mutex::new(State::Closed), changed: Notify::new() }))
    }

    /// The connection. Opening it goes on where the caller gives up.
    pub(super) async fn get(&self) -> Result<Arc<Connection>, TierError> {
        if let State::Open(connection) = &*self.0.lock()
            && connection.is_alive()
        {
            return Ok(Arc::clone(connection));
        }
        loop {
            let changed = self.0.changed.notified();
            {
                let mut state = self.0.lock();
                let attempts = match &*state {
                    State::Open(connection) if connection.is_alive() => return Ok(Arc::clone(connection)),
                    State::Failed { until, why, .. } if Instant::now() < *until => return Err(why.clone()),
                    State::Failed { attempts, .. } => Some(*attempts),
                    State::Open(_) | State::Closed => Some(0),
                    State::Opening => None,
                };
                if let Some(attempts) = attempts {
                    *state = State::Opening;
                    tokio::spawn(Inner::open(Arc::clone(&self.0), attempts));
                }
            }
            changed.await;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(self: Arc<Self>, attempts: u32) {
        let mut done = Opening { inner: &self, becomes: None };
        done.becomes = Some(match self.opener.open(Some(self.opener.response_timeout())).await {
            Ok(connection) => State::Open(Arc::new(connection)),
            Err(why) => {
                State::Failed { until: Instant::now() + pause(attempts), attempts: attempts + 1, why }
            }
        });
    }
}

/// Whoever waits is told also where the attempt was cut off.
struct Opening<'a> {
    inner: &'a Inner,
    becomes: Option<State>,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let cut_off = || State::Failed {
            until: Instant::now(),
            attempts: 0,
            why: TierError::new(TierFailure::Unreachable, "opening the connection was cut off"),
        };
        *self.inner.lock() = self.becomes.take().unwrap_or_else(cut_off);
        self.inner.changed.notify_waiters();
    }
}

/// How long no attempt is made after this many have failed and one more.
fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(8)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        assert_eq!(pause(0), FIRST_PAUSE);
        assert_eq!(pause(1), FIRST_PAUSE * 2);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
