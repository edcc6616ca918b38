//! Counts durations in buckets that grow by an eighth, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.ilog2();
/// The first bucket ends at 128 ns, the last one begins beyond two hours.
const UNIT_BITS: u32 = 7;
const BUCKETS: usize = (STEPS as usize) * 36;

/// Durations that were counted; any number of tasks may record at once, and none of them allocates.
///
/// It takes 2.3 kB.
///
/// ```
/// use std::time::Duration;
///
/// let waits = db_core::Histogram::default();
/// waits.record(Duration::from_millis(3));
/// assert_eq!(waits.read().mean(), Duration::from_millis(3));
/// ```
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), nanos: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(nanos)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if nanos > 0 {
            self.nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn read(&self) -> Timings {
        let counts: Vec<u64> =
            self.buckets.iter().map(|bucket| AtomicU64::load(bucket, Ordering::Relaxed)).collect();
        Timings { total: Duration::from_nanos(AtomicU64::load(&self.nanos, Ordering::Relaxed)), counts }
    }
}

/// How long something took, each time that it was done; what a [`Histogram`] has counted.
///
/// ```
/// use std::time::Duration;
///
/// let never = db_core::Timings::default();
/// assert_eq!((never.count(), never.quantile(0.99)), (0, Duration::ZERO));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timings {
    total: Duration,
    counts: Vec<u64>,
}

impl Timings {
    /// How often it was done.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long it took, added up.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// How long it took on average; zero where it was never done.
    pub fn mean(&self) -> Duration {
        u32::try_from(self.count()).ok().and_then(|count| self.total.checked_div(count)).unwrap_or_else(
            || {
                let (total, count) = (self.total.as_secs_f64(), self.count());
                if count == 0 { Duration::ZERO } else { Duration::from_secs_f64(total / count as f64) }
            },
        )
    }

    /// The duration that the share `quantile` (0 to 1) of all did not exceed, up to an eighth too long.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let wanted = (self.count() as f64 * quantile.clamp(0.0, 1.0)).ceil().max(1.0);
        let mut seen = 0.0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += *count as f64;
            if seen >= wanted {
                return Duration::from_nanos(end_of(index));
            }
        }
        Duration::ZERO
    }

    /// The buckets that anything fell into: the longest duration of each, and how many there were.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(index, count)| (Duration::from_nanos(end_of(index)), *count))
    }
}

fn bucket(nanos: u64) -> usize {
    let units = nanos >> (UNIT_BITS - STEP_BITS);
    let index = if units < STEPS {
        units
    } else {
        let doublings = units.ilog2() - STEP_BITS;
        u64::from(doublings) * STEPS + (units >> doublings)
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The shortest duration, in nanoseconds, that falls into the next bucket.
fn end_of(index: usize) -> u64 {
    let next = index as u64 + 1;
    let units = if next < STEPS {
        next
    } else {
        let doublings = next / STEPS - 1;
        (STEPS + next % STEPS) << doublings
    };
    units << (UNIT_BITS - STEP_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_an_eighth_too_long_at_most() {
        let histogram = Histogram::default();
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let read = histogram.read();
        assert_eq!((read.count(), read.mean()), (1_000, Duration::from_nanos(500_500)));
        for (quantile, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let ratio = read.quantile(quantile).as_secs_f64() * 1e6 / exact;
            assert!((1.0..=1.126).contains(&ratio), "{quantile}: {ratio}");
        }
        assert_eq!(Timings::default().quantile(0.5), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn every_duration_falls_below_the_end_of_its_bucket_and_not_below_the_one_before(nanos in 0..1_u64 << 42) {
            let index = bucket(nanos);
            prop_assert!(nanos < end_of(index), "{nanos} {index} {}", end_of(index));
            prop_assert!(index == 0 || nanos >= end_of(index - 1), "{nanos} {index} {}", end_of(index - 1));
        }
    }
}
