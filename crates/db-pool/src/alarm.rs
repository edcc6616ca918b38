//! Wakes callers whose time is up: one timer for all who wait.
//!
//! A timer for each would cost more than the rest of a hand-over. All wait equally long, so the first to wait is the first whose
//! time is up; when the alarm rings, everyone looks, and whoever has time left sets it again.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

/// When it rings is not set.
const NOT_SET: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Alarm {
    epoch: Instant,
    /// In microseconds after the epoch.
    due: AtomicU64,
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm { epoch: Instant::now(), due: AtomicU64::new(NOT_SET) }
    }
}

impl Alarm {
    /// Sets it to this moment, unless it rings earlier anyway; true where it was set.
    pub(crate) fn set(&self, at: Instant) -> bool {
        let micros = at.saturating_duration_since(self.epoch).as_micros();
        // Rounded up: nobody's time is up before.
        let micros = u64::try_from(micros).unwrap_or(NOT_SET).saturating_add(1);
        AtomicU64::load(&self.due, Ordering::Acquire) > micros
            && self.due.fetch_min(micros, Ordering::AcqRel) > micros
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
