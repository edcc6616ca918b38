//! Counters that threads do not fight over.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A counter in stripes: each thread counts in one of its own, as far as there are enough.
#[derive(Debug, Default)]
pub(crate) struct Striped([Stripe; STRIPES]);

/// A cache line each.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

const STRIPES: usize = 16;

thread_local! {
    static STRIPE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
    };
}

impl Striped {
    /// Counts one; how many this thread's stripe had before, to choose every so-manieth by.
    pub(crate) fn add_one(&self) -> u64 {
        let stripe = STRIPE.with(|stripe| *stripe);
        self.0.get(stripe).map_or(0, |stripe| stripe.0.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}
