//! How long to wait before the next attempt: pure arithmetic, no clock.
//!
//! Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Jitter matters more than growth: it
//! is what keeps callers that failed together from coming back together.

use std::time::Duration;

use rand::{Rng, RngExt};

/// How a pause is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Jitter {
    /// Not at all: for tests and for a single caller.
    None,
    /// Anywhere from nothing to the whole pause.
    #[default]
    Full,
    /// Half of the pause, and anywhere up to the other half.
    Equal,
    /// Anywhere from the base to three times the last pause.
    Decorrelated,
}

/// The pauses between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    multiplier: f64,
    jitter: Jitter,
    grown: Duration,
    last: Duration,
}

impl Backoff {
    /// Pauses that start at `base`, grow by `multiplier` and never exceed `max`.
    ///
    /// A multiplier below 1 counts as 1.
    pub fn new(base: Duration, max: Duration, multiplier: f64, jitter: Jitter) -> Self {
        let base = base.min(max);
        Backoff { base, max, multiplier: multiplier.max(1.0), jitter, grown: base, last: base }
    }

    /// The next pause.
    pub fn next_pause(&mut self, random: &mut impl Rng) -> Duration {
        let whole = self.grown;
        self.grown = grow(self.grown, self.multiplier).min(self.max);
        let pause = match self.jitter {
            Jitter::None => whole,
            Jitter::Full => whole.mul_f64(random.random_range(0.0..=1.0)),
            Jitter::Equal => whole / 2 + (whole / 2).mul_f64(random.random_range(0.0..=1.0)),
            Jitter::Decorrelated => {
                let ceiling = grow(self.last, 3.0).clamp(self.base, self.max);
                self.base + (ceiling - self.base).mul_f64(random.random_range(0.0..=1.0))
            }
        };
        self.last = pause.max(self.base);
        pause.min(self.max)
    }
}

fn grow(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn without_jitter_pauses_grow_to_the_limit() {
        let mut backoff = Backoff::new(50 * MS, 300 * MS, 2.0, Jitter::None);
        let pauses: Vec<_> = (0..5).map(|_| backoff.next_pause(&mut rand::rng())).collect();
        assert_eq!(pauses, [50 * MS, 100 * MS, 200 * MS, 300 * MS, 300 * MS]);
    }

    proptest! {
        #[test]
        fn no_pause_exceeds_the_limit(
            base in 0_u64..5_000, max in 0_u64..5_000, multiplier in 0.0..1e12_f64, kind in 0_usize..4,
        ) {
            let jitter = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated][kind];
            let (base, max) = (Duration::from_millis(base), Duration::from_millis(max));
            let mut backoff = Backoff::new(base, max, multiplier, jitter);
            for _ in 0..50 {
                let pause = backoff.next_pause(&mut rand::rng());
                prop_assert!(pause <= max);
                prop_assert!(jitter != Jitter::Decorrelated || pause >= base.min(max));
            }
        }
    }
}
