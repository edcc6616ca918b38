//! Takes a standby out of use for a while that answers its probes and still serves reads badly.
//!
//! Lag is no reason: a standby that lags is passed over while it lags, and its times do not grow. A node that
//! is down needs none either: its monitor knows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::EjectionConfig;

/// So many looks in a row must find a node slow: one slow answer is seen in the mean for several.
const SLOW_LOOKS: u32 = 8;

/// A year: longer than any process lives, and short enough to add to any moment.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

#[derive(Debug, Default)]
pub(crate) struct Ejection {
    active: AtomicBool,
    count: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many ejections there were in a row.
    row: u32,
    until: Option<Instant>,
    slow_looks: u32,
    /// Since when it has been in use again.
    back: Option<Instant>,
}

impl Ejection {
    /// Whether it gets no reads now.
    pub(crate) fn is_active(&self) -> bool {
        AtomicBool::load(&self.active, Ordering::Relaxed)
    }

    /// How often it was ejected.
    pub(crate) fn count(&self) -> u64 {
        AtomicU64::load(&self.count, Ordering::Relaxed)
    }

    /// Ejects it, and says for how long.
    pub(crate) fn eject(&self, config: &EjectionConfig, now: Instant) -> Duration {
        let mut state = self.state();
        // Whoever has behaved for as long as the longest ejection starts anew.
        if state.back.is_some_and(|back| now.saturating_duration_since(back) > config.max) {
            state.row = 0;
        }
        state.row = state.row.saturating_add(1);
        let lasts = config.base.saturating_mul(state.row).min(config.max).min(LONGEST);
        let lasts = lasts.mul_f64(0.75 + fastrand::f64() / 2.0);
        (state.until, state.slow_looks) = (now.checked_add(lasts), 0);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.active.store(true, Ordering::Relaxed);
        lasts
    }

    /// Re-admits it when its time is over, after a probe that found it alive. True where that happened now.
    pub(crate) fn readmit(&self, now: Instant) -> bool {
        if !self.is_active() {
            return false;
        }
        let mut state = self.state();
        let over = state.until.is_some_and(|until| now >= until);
        if over {
            (state.until, state.back) = (None, Some(now));
            self.active.store(false, Ordering::Relaxed);
        }
        over
    }

    /// Looks at its latency beside the others'; true when it was too slow often enough.
    pub(crate) fn is_outlier(&self, config: &EjectionConfig, own: f32, others: &mut [f32]) -> bool {
        others.sort_by(f32::total_cmp);
        let slow = others.get(others.len() / 2).is_some_and(|median| {
            let ratio = config.latency_ratio.get() as f32;
            own > median * ratio && own - median > config.latency_floor.as_secs_f32() * 1e6
        });
        let mut state = self.state();
        state.slow_looks = if slow { state.slow_looks + 1 } else { 0 };
        state.slow_looks >= SLOW_LOOKS
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ejection_in_a_row_lasts_longer_and_good_conduct_is_rewarded() {
        let (ejection, config, mut now) = (Ejection::default(), EjectionConfig::default(), Instant::now());
        for n in 1..=20 {
            let lasts = ejection.eject(&config, now);
            let plain = (config.base * n).min(config.max);
            assert!(lasts >= plain.mul_f64(0.75) && lasts <= plain.mul_f64(1.25), "{n}: {lasts:?}");
            assert!(!ejection.readmit(now + lasts / 2));
            assert!(ejection.is_active());
            now += lasts;
            assert!(ejection.readmit(now));
            assert!(!ejection.is_active());
        }
        now += config.max * 2;
        let endless = EjectionConfig { base: Duration::MAX, max: Duration::MAX, ..config.clone() };
        assert!(Ejection::default().eject(&endless, now) >= LONGEST.mul_f64(0.75));
        assert!(ejection.eject(&config, now) <= config.base.mul_f64(1.25));
        assert_eq!(ejection.count(), 21);
    }

    #[test]
    fn only_a_node_that_is_slow_in_several_looks_is_an_outlier() {
        let (ejection, config) = (Ejection::default(), EjectionConfig::default());
        let look = |own: f32, others: &[f32]| ejection.is_outlier(&config, own, &mut others.to_vec());
        let (fast, slow) = (1_000.0, 100_000.0);
        let not_yet = || (1..SLOW_LOOKS).for_each(|_| assert!(!look(slow, &[fast])));
        not_yet();
        assert!(!look(fast, &[fast]), "one good look ends the row");
        not_yet();
        assert!(look(slow, &[fast, slow, fast]));
        for _ in 0..20 {
            assert!(!look(slow, &[]), "with nobody to compare it with, nobody is slow");
            assert!(!look(10_000.0, &[fast]), "nine milliseconds are no reason");
        }
    }
}
