//! The guards that a test may leave out, one at a time, to show that something goes wrong without it.
//!
//! Outside of the feature `simulation` nothing can be left out.

/// A guard that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    not(feature = "simulation"),
    expect(dead_code, unreachable_pub, reason = "only the simulation leaves guards out")
)]
pub enum Mutant {
    /// Everything is in place.
    #[default]
    None,
    /// R1: an entry of the second tier is valid whatever its generations.
    IgnoreStamps,
    /// R2: what is touched is bumped before COMMIT, and not after.
    BumpBeforeCommit,
    /// R3: a rollback gives fresh generations, as if it had committed.
    BumpOnRollback,
    /// R4: there is no mark before COMMIT.
    NoMark,
    /// R5: an unknown outcome counts as a rollback.
    UnknownIsRollback,
    /// R6: a fill from a standby is taken wherever it stands.
    IgnoreFloor,
    /// R7: a first tier trusts its entries without word from the feed.
    NoFeedLease,
    /// R8: an entry of the first tier is valid whatever has changed.
    TrustFirstTier,
    /// R9: a load of what is in doubt is kept, and reads of it hit.
    IgnoreDoubt,
    /// R10: a doubt ends by the clock of the process.
    LocalClock,
    /// R11: an entry is stamped with the generations after its load.
    LateStamp,
    /// R12: a second tier that another server has taken over is trusted.
    IgnoreRun,
    /// R13: the schema is part of the slots, so that old and new programs do not hear of each other.
    SlotsBySchema,
    /// R14: a load that fails is answered with an entry that was invalidated.
    ServeInvalidated,
    /// R15: a new history leaves the epoch as it is.
    KeepEpoch,
    /// R16: positions compare whatever their timelines.
    IgnoreTimeline,
    /// The relay says what it has bumped as of the end of its look, and not as of its beginning.
    RelayedLate,
    /// A commit that the tier could not be told of is answered all the same.
    AnswerUntold,
    /// What FusionCache mended in 2.8: an evicted record of a tag comes back as it was at first.
    ResurrectMarker,
    /// A second tier that comes back is trusted at once.
    NoQuarantine,
}
