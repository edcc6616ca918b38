//! The generation of a tag: a random number that a load takes before its snapshot and that every hit
//! compares.
//!
//! Generations are random and never counted up, so a second tier that was flushed, evicted one or went back
//! in time makes entries invalid instead of making old ones valid again.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// What a tag's entries must have been loaded under to be valid. Random; never zero, and its two highest bits
/// are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation(u64);

/// The bits that a generation may have. The other two tell the first tier's table what it knows of a slot.
const BITS: u64 = (1 << 62) - 1;

impl Generation {
    /// A fresh one, which nothing was ever loaded under.
    pub fn fresh(random: &Random) -> Self {
        loop {
            if let Some(generation) = Generation::from_bits(random.next_u64() & BITS) {
                return generation;
            }
        }
    }

    /// What is wrong: a generation that a slot has each time it is made. A mutant does it.
    pub(crate) fn first_of(slot: crate::tag::Slot) -> Self {
        Generation(u64::from(slot.number()) + 1)
    }

    /// Reads one; none where these bits are no generation.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0 && bits & !BITS == 0).then_some(Generation(bits))
    }

    /// The number.
    pub fn bits(self) -> u64 {
        self.0
    }
}
