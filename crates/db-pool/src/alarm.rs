//! Wakes callers whose time is up: one timer for all who wait, minded by a task that does nothing else.
//!
//! A timer for each would cost more than the rest of a hand-over. All wait equally long, so the first to wait
//! is the first whose time is up; when the alarm rings, everyone looks, and whoever has time left sets it
//! again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use crate::inner::Inner;

/// When it rings is not set.
const NOT_SET: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Alarm {
    epoch: Instant,
    /// In microseconds after the epoch.
    due: AtomicU64,
    /// It was set to an earlier moment, or its pool is gone.
    touched: Arc<Notify>,
}

/// Rings the alarm of a pool until that is gone.
pub(crate) async fn mind(pool: Weak<Inner>) {
    loop {
        let Some(inner) = pool.upgrade() else { return };
        if inner.alarm.rings() {
            inner.failure.tell_waiters();
        }
        let (due, touched) = (inner.alarm.due(), Arc::clone(&inner.alarm.touched));
        drop(inner);
        match due {
            Some(due) => tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = touched.notified() => {}
            },
            None => touched.notified().await,
        }
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm { epoch: Instant::now(), due: AtomicU64::new(NOT_SET), touched: Arc::default() }
    }
}

impl Alarm {
    /// Sets it to this moment, unless it rings earlier anyway; true where it was set.
    pub(crate) fn set(&self, at: Instant) -> bool {
        let micros = at.saturating_duration_since(self.epoch).as_micros();
        // Rounded up: nobody's time is up before.
        let micros = u64::try_from(micros).unwrap_or(NOT_SET).saturating_add(1);
        let earlier = AtomicU64::load(&self.due, Ordering::Acquire) > micros
            && self.due.fetch_min(micros, Ordering::AcqRel) > micros;
        if earlier {
            self.touch();
        }
        earlier
    }

    /// Whoever minds it looks again.
    pub(crate) fn touch(&self) {
        self.touched.notify_one();
    }

    /// When it rings.
    pub(crate) fn due(&self) -> Option<Instant> {
        let micros = AtomicU64::load(&self.due, Ordering::Acquire);
        (micros != NOT_SET).then(|| self.epoch + Duration::from_micros(micros))
    }

    /// Whether it rings now; it is not set any more then.
    pub(crate) fn rings(&self) -> bool {
        let rings = self.due().is_some_and(|due| due <= Instant::now());
        if rings {
            self.due.store(NOT_SET, Ordering::Release);
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_once_for_the_first_whose_time_is_up() {
        let (alarm, now) = (Alarm::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(alarm.set(now + second * 2));
        assert!(!alarm.set(now + second * 3), "it rings before");
        assert!(alarm.set(now + second));
        assert!(!alarm.rings());
        tokio::time::sleep_until(alarm.due().unwrap()).await;
        assert!(Instant::now() >= now + second);
        assert!(alarm.rings());
        assert!(!alarm.rings() && alarm.due().is_none());
        assert!(alarm.set(now + second * 3));
    }
}
