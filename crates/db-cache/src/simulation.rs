//! A second tier in memory with faults for each operation: what the deterministic simulation runs on.

mod faults;
mod tier;

pub use faults::{Faults, Operation};
pub use tier::{SimulatedTier, TierState};
