//! The server's clock, as one connection reckons it between two times that it asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::record::TierTime;

/// What the server said last, and when it was asked.
#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Option<Told>>);

#[derive(Debug, Clone, Copy)]
struct Told {
    asked: Instant,
    said: TierTime,
}

/// Where somebody sets the server's clock, it is noticed after that.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Both clocks count whole milliseconds.
const ROUNDED: Duration = Duration::from_millis(2);

impl ServerClock {
    /// Whether the server must be asked.
    pub(super) fn is_old(&self) -> bool {
        self.last().is_none_or(|told| told.asked.elapsed() >= ASK_EVERY)
    }

    /// The server was asked at `asked`, and said this.
    pub(super) fn set(&self, asked: Instant, said: TierTime) {
        *self.last() = Some(Told { asked, said });
    }

    /// What it says now at most: it was not earlier when it answered than when it was asked.
    pub(super) fn now(&self) -> Option<TierTime> {
        self.last().map(|told| told.said.after(told.asked.elapsed().saturating_add(ROUNDED)))
    }

    fn last(&self) -> MutexGuard<'_, Option<Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_behind_and_asks_again() {
        let clock = ServerClock::default();
        assert!(clock.is_old());
        assert_eq!(clock.now(), None);
        clock.set(Instant::now(), TierTime(1_000));
        assert!(!clock.is_old());
        assert!(clock.now().is_some_and(|now| now >= TierTime(1_002)));
        clock.set(Instant::now().checked_sub(ASK_EVERY).unwrap(), TierTime(2_000));
        assert!(clock.is_old());
        assert!(clock.now().is_some_and(|now| now >= TierTime(2_252)));
    }
}
