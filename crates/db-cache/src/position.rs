//! A position in the log of one cluster on one timeline, and which positions say something of each other.
//!
//! Positions of two timelines say nothing of each other: after a failover "replayed at least this" means
//! nothing, so the answer is "unknown", and an unknown position is never covered.

use db_core::Lsn;
use serde::{Deserialize, Serialize};

/// One run of a cluster's history: which cluster it is, and which timeline.
///
/// Timelines compare only within one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct History {
    /// The system identifier, as `pg_control_system()` tells it.
    pub system: u64,
    /// The timeline.
    pub timeline: u32,
}

impl History {
    /// Whether this history came after the other by a promotion: the same cluster on a later timeline.
    pub fn follows(self, earlier: History) -> bool {
        self.system == earlier.system && self.timeline > earlier.timeline
    }
}

/// A position in the write-ahead log of one history.
///
/// ```
/// use db_cache::{History, Position};
///
/// let history = History { system: 7, timeline: 1 };
/// let commit = Position::new(history, 100);
/// assert!(Position::new(history, 100).covers(commit));
/// assert!(!Position::new(History { timeline: 2, ..history }, 900).covers(commit));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The history that it is a position of.
    pub history: History,
    /// The byte position, as [`Lsn`] holds it.
    lsn: u64,
}

impl Position {
    /// A position.
    pub const fn new(history: History, lsn: u64) -> Self {
        Position { history, lsn }
    }

    /// The byte position.
    pub fn lsn(self) -> Lsn {
        Lsn(self.lsn)
    }

    /// Whether a server that has replayed up to here shows what was committed at `other`. A different history
    /// is no.
    pub fn covers(self, other: Position) -> bool {
        self.history == other.history && self.lsn >= other.lsn
    }
}

/// Up to where a standby must have replayed before it may fill an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Floor {
    /// Nobody knows: only the primary may.
    #[default]
    Unknown,
    /// Up to here.
    At(Position),
}

impl Floor {
    /// Whether a standby that has replayed up to `replayed` may fill an entry.
    pub fn is_covered_by(self, replayed: Position) -> bool {
        match self {
            Floor::Unknown => false,
            Floor::At(floor) => replayed.covers(floor),
        }
    }

    /// What is wrong: positions of two timelines are compared. A mutant does it.
    pub(crate) fn is_covered_by_number(self, replayed: Position) -> bool {
        matches!(self, Floor::At(floor) if replayed.lsn >= floor.lsn)
    }

    /// The floor after a commit at `commit`; none where the position of that commit is not known.
    ///
    /// A later timeline takes over: whatever survived the switch lies before the new commit. An earlier
    /// timeline, and another cluster, make it unknown. What is unknown stays so: a commit of unknown position
    /// may lie behind this one, whose word came late.
    #[must_use]
    pub fn raised_to(self, commit: Option<Position>) -> Floor {
        let Some(commit) = commit else { return Floor::Unknown };
        match self {
            Floor::Unknown => Floor::Unknown,
            Floor::At(old) if old.history == commit.history => {
                Floor::At(if old.covers(commit) { old } else { commit })
            }
            Floor::At(old) if commit.history.follows(old.history) => Floor::At(commit),
            Floor::At(_) => Floor::Unknown,
        }
    }

    /// The floor that a load from the primary teaches: it began after the generation was read, and the
    /// primary's log was at `primary` after that, so every commit that led to the generation lies before.
    #[must_use]
    pub fn learned(self, primary: Position) -> Floor {
        match self {
            Floor::At(old) if !primary.history.follows(old.history) => self,
            _ => Floor::At(primary),
        }
    }

    /// The floor that covers both.
    #[must_use]
    pub fn and(self, other: Floor) -> Floor {
        match (self, other) {
            (Floor::At(one), Floor::At(two)) if one.covers(two) => self,
            (Floor::At(one), Floor::At(two)) if two.covers(one) => other,
            // A standby on the later timeline has all of the earlier one that survived.
            (Floor::At(one), Floor::At(two)) if one.history.follows(two.history) => self,
            (Floor::At(one), Floor::At(two)) if two.history.follows(one.history) => other,
            _ => Floor::Unknown,
        }
    }
}
