//! The second tier as the cache sees it: entries that any process may read, and the records that say which
//! are valid.
//!
//! Every operation that changes a slot or the epoch is atomic and appends to the feed, in one order for all.
//! Two implementations exist, and the conformance suite runs on both.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use crate::generation::Generation;
use crate::key::EntryKey;
use crate::position::{History, Position};
use crate::record::{EpochRecord, FeedId, Run, SlotRecord, TierTime};
use crate::tag::Slot;
use crate::tier_error::TierError;

/// What an operation of a second tier comes to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, TierError>> + Send + 'a>>;

/// The tier that processes share. The cache sets the time limits: an operation may take as long as it takes.
///
/// # Cancel safety
/// A dropped operation may or may not have happened.
pub trait SecondTier: fmt::Debug + Send + Sync + 'static {
    /// Reads entries, slots and the epoch in one round trip. What is absent is none.
    ///
    /// Each of them is as it was at some moment of the read: an entry that passes by the slots was valid
    /// then. A tier that takes no marks must not answer: what it holds may be older than what was committed.
    fn read<'a>(&'a self, entries: &'a [EntryKey], slots: &'a [Slot]) -> Answer<'a, Snapshot>;

    /// Reads slots as [`SecondTier::read`] does, and makes those that are absent, and settles those whose
    /// doubt is over: both get the generation that comes with them, and an unknown floor. Makes the epoch of
    /// `epoch` where there is none.
    fn open<'a>(&'a self, fresh: &'a Fresh, epoch: Generation) -> Answer<'a, Snapshot>;

    /// Keeps an entry for `keep`; the slots in `learned` whose generation is still the same learn their
    /// floor.
    fn store<'a>(&'a self, store: &'a Store) -> Answer<'a, ()>;

    /// Takes the load lease of a key, or renews it where `holder` has it already.
    fn lease<'a>(&'a self, key: &'a EntryKey, holder: Holder, keep: Duration) -> Answer<'a, Lease>;

    /// Gives the lease back, if `holder` still has it.
    fn release<'a>(&'a self, key: &'a EntryKey, holder: Holder) -> Answer<'a, ()>;

    /// Marks slots in doubt for at most `keep`: a transaction of `writer` that touches them is about to
    /// commit. As with the next two, the answer is where in the feed the change stands.
    fn mark<'a>(&'a self, writer: Writer, fresh: &'a Fresh, keep: Duration) -> Answer<'a, Cursor>;

    /// Gives slots the generations that come with them and ends the doubts of `writer`: its transaction has
    /// committed.
    ///
    /// `position` is the primary's position after COMMIT, if it is known.
    fn bump<'a>(
        &'a self,
        writer: Option<Writer>,
        fresh: &'a Fresh,
        position: Option<Position>,
    ) -> Answer<'a, Cursor>;

    /// Ends the doubts of `writer`: its transaction has not committed. Generations stay, and entries with
    /// them.
    fn abort<'a>(&'a self, writer: Writer, slots: &'a [Slot]) -> Answer<'a, Cursor>;

    /// Gives the whole cache a fresh generation, if `when` says so, and answers with the epoch that holds
    /// then.
    fn epoch<'a>(&'a self, fresh: Generation, when: NewEpoch) -> Answer<'a, EpochRecord>;

    /// The changes after `after`; waits for the first one for at most `wait`. Without `after` it tells where
    /// the feed ends.
    ///
    /// A `member` that passes itself says that it has applied everything up to `after`, and stays a member
    /// for `keep`.
    fn feed<'a>(
        &'a self,
        after: Option<Cursor>,
        wait: Duration,
        member: Option<(Member, Duration)>,
    ) -> Answer<'a, Feed>;

    /// The members that read the feed, and up to where each has applied it.
    ///
    /// A tier may lose its members only together with its epoch: they must not be evicted one without the
    /// other.
    fn members(&self) -> Answer<'_, Vec<(Member, FeedId)>>;

    /// The relay says that everything that was committed before `as_of` has been bumped.
    ///
    /// `as_of` is what the tier's own clock said before the relay looked: what is committed while it looks is
    /// not yet bumped. A tier whose clock is behind `as_of` does not believe it: that was the clock of a
    /// server that it has replaced.
    fn relayed(&self, as_of: TierTime) -> Answer<'_, ()>;

    /// How full it is.
    fn usage(&self) -> Answer<'_, Usage>;
}

/// Slots with the generation that each gets if it gets a new one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fresh(pub Vec<(Slot, Generation)>);

/// What one round trip told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The bytes of each entry that was asked for, in that order.
    pub entries: Vec<Option<Vec<u8>>>,
    /// The record of each slot that was asked for, in that order.
    pub slots: Vec<Option<SlotRecord>>,
    /// The epoch.
    pub epoch: Option<EpochRecord>,
    /// Which run of which server answered.
    pub run: Run,
    /// What the tier's clock said. Where entries were read it may be ahead, by less than the read took and
    /// 250 ms of drift.
    pub now: TierTime,
    /// Where the feed ended: a slot that changed no later has not changed since this answer.
    pub tail: FeedId,
    /// Up to when the relay has caught up, as it said last; none where there never was one.
    pub relayed: Option<TierTime>,
}

/// An entry to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Whose entry it is.
    pub key: EntryKey,
    /// The envelope.
    pub bytes: Vec<u8>,
    /// How long it is kept.
    pub keep: Duration,
    /// The lease that is given back with it.
    pub release: Option<Holder>,
    /// Slots whose floor a load from the primary has taught, each with the generation that the load took.
    pub learned: Option<(Vec<(Slot, Generation)>, Position)>,
}

/// One load, as the holder of a lease. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(pub u64);

/// One transaction, as the cause of a doubt. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writer(pub u64);

/// One first tier, as a reader of the feed. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Member(pub u64);

/// What asking for a lease came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// The asker has it.
    Taken,
    /// Another load has it for this much longer.
    Held(Duration),
}

/// When an epoch gives way to a fresh one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewEpoch {
    /// In any case.
    Always,
    /// Where another run of the second tier made it.
    IfOfAnotherRun,
    /// Where it knows no history, or one that this one follows, or one of another cluster.
    IfHistoryIs(History),
}

/// Where a reader of the feed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The run in which it read.
    pub run: Run,
    /// Up to where.
    pub id: FeedId,
}

/// A part of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// What changed, in order.
    pub changes: Vec<Change>,
    /// Where the reader stands now.
    pub cursor: Cursor,
    /// Whether changes may be missing: the reader must drop everything that it knows.
    pub lost: bool,
    /// The epoch, where the reader asked where the feed ends or has lost changes.
    pub epoch: Option<EpochRecord>,
    /// What the tier's clock said.
    pub now: TierTime,
    /// Up to when the relay had caught up, at a moment that is not later than the changes.
    pub relayed: Option<TierTime>,
}

/// One change: what holds after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The slot has this generation, and no transaction that touches it is in doubt.
    Settled(Slot, Generation),
    /// A transaction that touches the slot is in doubt.
    InDoubt(Slot),
    /// The whole cache has a new epoch.
    Epoch(EpochRecord),
}

/// How full a second tier is. What it does not tell is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes in use.
    pub used_bytes: Option<u64>,
    /// The limit in bytes.
    pub limit_bytes: Option<u64>,
    /// How many keys it has evicted to stay below the limit.
    pub evicted: Option<u64>,
    /// What it does when it is full, in its own words, such as `allkeys-lru`.
    pub policy: Option<String>,
}

impl Fresh {
    /// The slots.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Slot> + '_ {
        self.0.iter().map(|(slot, _)| *slot)
    }
}

impl Snapshot {
    /// Whether the tier has been the same for that long, so that it knows every member which has registered
    /// since.
    pub(crate) fn keeps_members_for(&self, time: Duration) -> bool {
        self.epoch
            .is_some_and(|epoch| epoch.run == self.run && self.now.since(TierTime(epoch.changed.0)) >= time)
    }
}

impl NewEpoch {
    /// Whether an epoch gives way.
    pub fn replaces(self, epoch: &EpochRecord, run: Run) -> bool {
        match self {
            NewEpoch::Always => true,
            NewEpoch::IfOfAnotherRun => epoch.run != run,
            NewEpoch::IfHistoryIs(history) => match epoch.history {
                None => true,
                Some(old) => history.follows(old) || history.system != old.system,
            },
        }
    }
}
