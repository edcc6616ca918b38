//! Counters that threads do not fight over.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A counter in stripes: the first threads of a process have one each, and all others share the last.
#[derive(Debug, Default)]
pub(crate) struct Striped([Stripe; STRIPES]);

/// A cache line each.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

const STRIPES: usize = 16;
const SHARED: usize = STRIPES - 1;

thread_local! {
    static STRIPE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed).min(SHARED)
    };
}

impl Striped {
    /// Counts one; how many this thread's stripe had before, to choose every so-manieth by.
    #[inline]
    pub(crate) fn add_one(&self) -> u64 {
        let number = STRIPE.with(|stripe| *stripe);
        let Some(Stripe(count)) = self.0.get(number) else { return 0 };
        if number == SHARED {
            return count.fetch_add(1, Ordering::Relaxed);
        }
        // No other thread writes it, so it needs no locked instruction, which is dearer than all else here.
        let before = count.load(Ordering::Relaxed);
        count.store(before.wrapping_add(1), Ordering::Relaxed);
        before
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_stripes_lose_no_count() {
        let counter = Striped::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        counter.add_one();
                    }
                });
            }
        });
        assert_eq!(counter.get(), 2 * STRIPES as u64 * 1_000);
    }
}
