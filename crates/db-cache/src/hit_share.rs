//! How often the second tier has what the first has not: where it seldom has, a read does not look there
//! before it loads.

use std::sync::atomic::{AtomicU32, Ordering};

/// The share of the last looks that found a fresh entry, in parts of [`WHOLE`]. Each look weighs a
/// sixty-fourth.
#[derive(Debug)]
pub(crate) struct HitShare(AtomicU32);

const WHOLE: u32 = 1 << 16;
const WEIGHT: u32 = 64;

/// A look that finds nothing costs a round trip, and a lease that was not needed costs one that nobody waits
/// for.
const SELDOM: u32 = WHOLE / 8;

impl Default for HitShare {
    fn default() -> Self {
        HitShare(AtomicU32::new(WHOLE / 2))
    }
}

impl HitShare {
    /// A look came to this. Of two at once one may be forgotten.
    pub(crate) fn count(&self, is_hit: bool) {
        let share = self.0.load(Ordering::Relaxed);
        let part = if is_hit { WHOLE / WEIGHT } else { 0 };
        self.0.store(share - share / WEIGHT + part, Ordering::Relaxed);
    }

    pub(crate) fn is_small(&self) -> bool {
        self.0.load(Ordering::Relaxed) < SELDOM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small_after_a_hundred_misses_and_no_more_after_a_dozen_hits() {
        let share = HitShare::default();
        assert!(!share.is_small());
        for _ in 0..100 {
            share.count(false);
        }
        assert!(share.is_small());
        for _ in 0..12 {
            share.count(true);
        }
        assert!(!share.is_small());
    }

    #[test]
    fn neither_overflows_nor_sticks() {
        let share = HitShare::default();
        for _ in 0..10_000 {
            share.count(true);
        }
        assert!(!share.is_small() && share.0.load(Ordering::Relaxed) <= WHOLE + WEIGHT);
        for _ in 0..10_000 {
            share.count(false);
        }
        assert!(share.is_small());
    }
}
