//! The records of a first tier that works alone: the same protocol, within one process, and no entries.
//!
//! Other processes' writes are not heard of: what a mode promises holds for the writes of this process only.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::generation::Generation;
use crate::key::EntryKey;
use crate::position::Position;
use crate::protocol::Records;
use crate::random::Random;
use crate::record::{EpochRecord, FeedId, Run, TierTime};
use crate::second_tier::{
    Answer, Cursor, Feed, Fresh, Holder, Lease, Member, NewEpoch, SecondTier, Snapshot, Store, Usage, Writer,
};
use crate::tag::Slot;

/// Stands in for the second tier where there is none.
#[derive(Debug)]
pub(crate) struct Solo {
    records: Mutex<Records>,
    tail: watch::Sender<FeedId>,
    clock: SharedClock,
}

/// Each slot is made once, and what was applied is forgotten: this many are never behind.
const FEED: usize = 2 * Slot::COUNT as usize;

impl Solo {
    pub(crate) fn new(clock: SharedClock, random: &Random) -> Self {
        let birth = FeedId(0, random.next_u64() >> 1);
        let records = Mutex::new(Records::new(Run(random.next_u64()), birth, FEED));
        Solo { records, tail: watch::Sender::new(birth), clock }
    }

    fn act<T: Send + 'static>(&self, act: impl FnOnce(&mut Records, TierTime) -> T) -> Answer<'static, T> {
        let now = TierTime(self.clock.now().0 / 1_000_000 + 1);
        let (done, tail) = {
            let mut records = self.records();
            (act(&mut records, now), records.tail())
        };
        self.tail.send_if_modified(|old| std::mem::replace(old, tail) != tail);
        Box::pin(std::future::ready(Ok(done)))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn snapshot(records: &Records, entries: usize, slots: impl Iterator<Item = Slot>, now: TierTime) -> Snapshot {
    Snapshot {
        entries: vec![None; entries],
        slots: slots.map(|slot| records.slot(slot)).collect(),
        epoch: records.epoch(),
        run: records.run(),
        now,
        tail: records.tail(),
        relayed: records.relayed(),
    }
}

impl SecondTier for Solo {
    fn read<'a>(&'a self, entries: &'a [EntryKey], slots: &'a [Slot]) -> Answer<'a, Snapshot> {
        self.act(|records, now| snapshot(records, entries.len(), slots.iter().copied(), now))
    }

    fn open<'a>(&'a self, fresh: &'a Fresh, epoch: Generation) -> Answer<'a, Snapshot> {
        self.act(|records, now| {
            records.open(now, fresh, epoch);
            snapshot(records, 0, fresh.slots(), now)
        })
    }

    fn store<'a>(&'a self, store: &'a Store) -> Answer<'a, ()> {
        self.act(|records, _| {
            if let Some((slots, position)) = &store.learned {
                records.learn(slots, *position);
            }
        })
    }

    fn lease<'a>(&'a self, _: &'a EntryKey, _: Holder, _: Duration) -> Answer<'a, Lease> {
        Box::pin(std::future::ready(Ok(Lease::Taken)))
    }

    fn release<'a>(&'a self, _: &'a EntryKey, _: Holder) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn mark<'a>(&'a self, writer: Writer, fresh: &'a Fresh, keep: Duration) -> Answer<'a, Cursor> {
        self.act(|records, now| records.mark(now, writer, fresh, keep))
    }

    fn bump<'a>(
        &'a self,
        writer: Option<Writer>,
        fresh: &'a Fresh,
        position: Option<Position>,
    ) -> Answer<'a, Cursor> {
        self.act(|records, now| records.bump(now, writer, fresh, position))
    }

    fn abort<'a>(&'a self, writer: Writer, slots: &'a [Slot]) -> Answer<'a, Cursor> {
        self.act(|records, now| records.abort(now, writer, slots))
    }

    fn epoch<'a>(&'a self, fresh: Generation, when: NewEpoch) -> Answer<'a, EpochRecord> {
        self.act(|records, now| records.renew_epoch(now, fresh, when))
    }

    fn feed<'a>(
        &'a self,
        after: Option<Cursor>,
        wait: Duration,
        member: Option<(Member, Duration)>,
    ) -> Answer<'a, Feed> {
        Box::pin(async move {
            let mut tail = self.tail.subscribe();
            if let Some(after) = after {
                // Time over is an answer too: nothing has changed.
                let _ = tokio::time::timeout(wait, tail.wait_for(|tail| *tail != after.id)).await;
            }
            self.act(move |records, now| {
                if let Some(after) = after {
                    records.forget_up_to(after);
                }
                records.read_feed(now, after, member)
            })
            .await
        })
    }

    fn members(&self) -> Answer<'_, Vec<(Member, FeedId)>> {
        self.act(|records, now| records.members(now))
    }

    fn relayed(&self, _: TierTime) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn usage(&self) -> Answer<'_, Usage> {
        Box::pin(std::future::ready(Ok(Usage::default())))
    }
}
