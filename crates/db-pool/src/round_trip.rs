//! How long a question to the server and its answer take: what every patience is measured by.
//!
//! The least of the last few measurements counts, because an answer may be late for other reasons than the
//! way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Measurements that are kept.
const KEPT: usize = 4;

/// The round trip to one server.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
    /// In microseconds; 0 is none.
    last: [AtomicU64; KEPT],
    next: AtomicU64,
}

impl RoundTrip {
    /// Takes note of a measurement.
    pub(crate) fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let at = self.next.fetch_add(1, Ordering::Relaxed) as usize % KEPT;
        self.last[at].store(micros, Ordering::Relaxed);
    }

    /// The round trip; zero before the first measurement.
    pub(crate) fn get(&self) -> Duration {
        let known = self.last.iter().map(|micros| AtomicU64::load(micros, Ordering::Relaxed));
        Duration::from_micros(known.filter(|micros| *micros > 0).min().unwrap_or_default())
    }

    /// So many round trips on top of `least`, and never more than `most`.
    pub(crate) fn patience(&self, least: Duration, trips: u32, most: Duration) -> Duration {
        least.saturating_add(self.get().saturating_mul(trips)).min(most.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_late_answer_is_not_the_way_and_a_longer_way_is_learned() {
        let (way, ms) = (RoundTrip::default(), Duration::from_millis);
        assert_eq!(way.get(), Duration::ZERO);
        way.note(ms(2));
        way.note(ms(900));
        assert_eq!(way.get(), ms(2));
        (0..KEPT).for_each(|_| way.note(ms(440)));
        assert_eq!(way.get(), ms(440));
        assert_eq!(way.patience(ms(300), 2, ms(2_000)), ms(1_180));
        assert_eq!(way.patience(ms(300), 2, ms(500)), ms(500));
        way.note(Duration::MAX);
        (1..KEPT).for_each(|_| way.note(Duration::MAX));
        assert_eq!(way.patience(ms(300), 4, ms(2_000)), ms(2_000));
    }
}
