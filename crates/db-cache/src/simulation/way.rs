//! The way from one process to the second tier, which may be cut off while others reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::tier::SimulatedTier;
use crate::generation::Generation;
use crate::key::EntryKey;
use crate::position::Position;
use crate::record::{EpochRecord, FeedId, TierTime};
use crate::second_tier::{
    Answer, Cursor, Feed, Fresh, Holder, Lease, Member, NewEpoch, SecondTier, Snapshot, Store, Usage, Writer,
};
use crate::tag::Slot;
use crate::tier_error::{TierError, TierFailure};

/// A tier as one process sees it.
#[derive(Debug)]
pub struct Way {
    tier: Arc<SimulatedTier>,
    reach: Reach,
}

/// Whether a process reaches the tier.
///
/// ```
/// use std::sync::Arc;
/// use db_cache::simulation::{SimulatedTier, Way};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let way = Way::to(&Arc::new(SimulatedTier::seeded(7)));
/// way.reach().cut_off(true);
/// # });
/// ```
#[derive(Debug, Clone, Default)]
pub struct Reach(Arc<AtomicBool>);

impl Way {
    /// A way to a tier.
    pub fn to(tier: &Arc<SimulatedTier>) -> Self {
        Way { tier: Arc::clone(tier), reach: Reach::default() }
    }

    /// What cuts it off.
    pub fn reach(&self) -> Reach {
        self.reach.clone()
    }

    fn go<'a, T: Send + 'a>(
        &'a self,
        operation: impl FnOnce(&'a SimulatedTier) -> Answer<'a, T>,
    ) -> Answer<'a, T> {
        match self.reach.is_cut_off() {
            true => Box::pin(std::future::ready(Err(cut_off()))),
            false => {
                let answer = operation(&self.tier);
                Box::pin(async move {
                    let answer = answer.await;
                    // What was under way may have happened.
                    if self.reach.is_cut_off() { Err(cut_off()) } else { answer }
                })
            }
        }
    }
}

impl Reach {
    /// From now on it is cut off, or there again.
    pub fn cut_off(&self, is_cut_off: bool) {
        self.0.store(is_cut_off, Ordering::Relaxed);
    }

    fn is_cut_off(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn cut_off() -> TierError {
    TierError::new(TierFailure::Unreachable, "the process is cut off from it")
}

impl SecondTier for Way {
    fn read<'a>(&'a self, entries: &'a [EntryKey], slots: &'a [Slot]) -> Answer<'a, Snapshot> {
        self.go(|tier| tier.read(entries, slots))
    }

    fn open<'a>(&'a self, fresh: &'a Fresh, epoch: Generation) -> Answer<'a, Snapshot> {
        self.go(|tier| tier.open(fresh, epoch))
    }

    fn store<'a>(&'a self, store: &'a Store) -> Answer<'a, ()> {
        self.go(|tier| tier.store(store))
    }

    fn lease<'a>(&'a self, key: &'a EntryKey, holder: Holder, keep: Duration) -> Answer<'a, Lease> {
        self.go(|tier| tier.lease(key, holder, keep))
    }

    fn release<'a>(&'a self, key: &'a EntryKey, holder: Holder) -> Answer<'a, ()> {
        self.go(|tier| tier.release(key, holder))
    }

    fn mark<'a>(&'a self, writer: Writer, fresh: &'a Fresh, keep: Duration) -> Answer<'a, Cursor> {
        self.go(|tier| tier.mark(writer, fresh, keep))
    }

    fn bump<'a>(
        &'a self,
        writer: Option<Writer>,
        fresh: &'a Fresh,
        position: Option<Position>,
    ) -> Answer<'a, Cursor> {
        self.go(|tier| tier.bump(writer, fresh, position))
    }

    fn abort<'a>(&'a self, writer: Writer, slots: &'a [Slot]) -> Answer<'a, Cursor> {
        self.go(|tier| tier.abort(writer, slots))
    }

    fn epoch<'a>(&'a self, fresh: Generation, when: NewEpoch) -> Answer<'a, EpochRecord> {
        self.go(|tier| tier.epoch(fresh, when))
    }

    fn feed<'a>(
        &'a self,
        after: Option<Cursor>,
        wait: Duration,
        member: Option<(Member, Duration)>,
    ) -> Answer<'a, Feed> {
        self.go(|tier| tier.feed(after, wait, member))
    }

    fn members(&self) -> Answer<'_, Vec<(Member, FeedId)>> {
        self.go(|tier| tier.members())
    }

    fn relayed(&self, as_of: TierTime) -> Answer<'_, ()> {
        self.go(|tier| tier.relayed(as_of))
    }

    fn usage(&self) -> Answer<'_, Usage> {
        self.go(|tier| tier.usage())
    }
}
