//! Random numbers, good enough to pick what comes next.

use std::hash::{BuildHasher, RandomState};

/// A random number below `limit`.
pub(crate) fn below(limit: usize) -> usize {
    thread_local!(static STATE: std::cell::Cell<u64> = std::cell::Cell::new(RandomState::new().hash_one(0) | 1));
    STATE.with(|state| {
        // xorshift64: Marsaglia, 2003.
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        usize::try_from(x % limit.max(1) as u64).unwrap_or(0)
    })
}
