//! Seeded randomness, so that a simulation that failed can be replayed.

use std::sync::{Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// Where generations, holders and early refreshes come from.
#[derive(Debug)]
pub struct Random(Mutex<SmallRng>);

impl Random {
    /// One that nobody can foresee.
    pub fn from_entropy() -> Self {
        Random(Mutex::new(SmallRng::from_rng(&mut rand::rng())))
    }

    /// One whose numbers follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Random(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    /// A number from 0 up to, but not including, 1.
    pub fn next_fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}
