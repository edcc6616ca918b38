//! What the second tier keeps beside the entries: a record of each slot, one of the whole cache, and the
//! clock and the feed by which both are ordered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::generation::Generation;
use crate::position::{Floor, History};

/// A moment by the second tier's own clock, in milliseconds. No process's wall clock is trusted anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct TierTime(pub u64);

/// The place of one change in the feed: the tier's time in milliseconds, or later, and a number. It only
/// grows within one [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct FeedId(pub u64, pub u64);

/// Which run of which server answers: it changes when the server restarts and when another one takes over,
/// and with it everything that was written last may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run(pub u64);

/// What the second tier knows of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// What entries must have been loaded under.
    pub generation: Generation,
    /// Up to where a standby must have replayed to fill an entry.
    pub floor: Floor,
    /// When the last transaction that is in doubt ends to be so; none where none is.
    ///
    /// A doubt whose time is over is still a doubt, until [`open`](crate::SecondTier::open) settles it with a
    /// fresh generation.
    pub doubt: Option<TierTime>,
    /// Where in the feed it changed last.
    pub changed: FeedId,
}

/// The record of the whole cache: its generation stamps every entry, so a fresh one drops them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// What every entry must have been loaded under.
    pub generation: Generation,
    /// The history of the database that the entries come from; none where nobody has told it yet.
    pub history: Option<History>,
    /// The run of the second tier that made it. Under another run nothing is trusted until there is a new
    /// epoch.
    pub run: Run,
    /// Where in the feed it changed: a slot's floor that is older counts as unknown.
    pub changed: FeedId,
}

impl TierTime {
    /// The moment that is `later` after this one; the last one there is, where it would lie beyond.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        TierTime(self.0.saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this moment; zero where `earlier` is not earlier.
    pub fn since(self, earlier: TierTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl SlotRecord {
    /// Up to where a standby must have replayed, in this epoch.
    pub fn floor_in(&self, epoch: &EpochRecord) -> Floor {
        if self.changed >= epoch.changed { self.floor } else { Floor::Unknown }
    }
}
