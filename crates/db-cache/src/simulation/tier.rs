//! A second tier in memory, with tokio's clock and faults for each operation.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::faults::{Faults, Operation};
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
use crate::tier_error::TierError;

/// A second tier in memory. Its clock is tokio's, so a test can pause it.
///
/// ```
/// use db_cache::simulation::{Faults, Operation, SimulatedTier};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let tier = SimulatedTier::seeded(7);
/// tier.set_faults(Operation::Read, Faults::DOWN);
/// # });
/// ```
#[derive(Debug)]
pub struct SimulatedTier {
    state: Mutex<TierState>,
    faults: Mutex<HashMap<Operation, Faults>>,
    changed: Notify,
    started: tokio::time::Instant,
    random: Random,
}

/// All that such a tier holds at one moment.
#[derive(Debug, Clone)]
pub struct TierState {
    records: Records,
    entries: HashMap<Vec<u8>, (Vec<u8>, TierTime)>,
    leases: HashMap<Vec<u8>, (Holder, TierTime)>,
}

/// Enough for any test but the one that cuts it.
const FEED: usize = 10_000;

impl SimulatedTier {
    /// An empty tier whose faults follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        let random = Random::seeded(seed);
        let run = Run(random.next_u64());
        SimulatedTier {
            state: Mutex::new(TierState::empty(run, FeedId(0, random.next_u64() >> 1))),
            faults: Mutex::default(),
            changed: Notify::new(),
            started: tokio::time::Instant::now(),
            random,
        }
    }

    /// From now on this goes wrong with that operation.
    pub fn set_faults(&self, operation: Operation, faults: Faults) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).insert(operation, faults);
    }

    /// What it holds now: what a replica has that is up to date.
    pub fn state(&self) -> TierState {
        self.lock().clone()
    }

    /// Another server takes over, which holds `state`: whatever was written since is lost.
    pub fn fail_over(&self, state: TierState) {
        let run = Run(self.random.next_u64());
        *self.lock() = TierState { records: state.records.taken_over(run), ..state };
        self.changed.notify_waiters();
    }

    /// It is emptied, as FLUSHALL does.
    pub fn flush(&self) {
        let birth = FeedId(self.now().0, self.random.next_u64() >> 1);
        let mut state = self.lock();
        *state = TierState::empty(state.records.run(), birth);
        drop(state);
        self.changed.notify_waiters();
    }

    /// It evicts the record of one slot.
    pub fn evict_slot(&self, slot: Slot) {
        self.lock().records.evict(slot);
    }

    /// It evicts the epoch's record.
    pub fn evict_epoch(&self) {
        self.lock().records.evict_epoch();
    }

    /// It cuts the feed down to its last changes.
    pub fn cut_feed(&self, keep: usize) {
        self.lock().records.cut_feed(keep);
    }

    /// Changes the bytes of every entry.
    pub fn damage(&self, mut damage: impl FnMut(&mut Vec<u8>)) {
        self.lock().entries.values_mut().for_each(|(bytes, _)| damage(bytes));
    }

    fn lock(&self) -> MutexGuard<'_, TierState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> TierTime {
        TierTime(1).after(self.started.elapsed())
    }

    async fn run<T>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut TierState, TierTime) -> T,
    ) -> Result<T, TierError> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).get(&operation).copied();
        let faults = faults.unwrap_or(Faults::NONE);
        faults.request(&self.random).await?;
        let (done, has_changed) = {
            let mut state = self.lock();
            let tail = state.records.tail();
            let done = act(&mut state, self.now());
            (done, state.records.tail() != tail)
        };
        if has_changed {
            self.changed.notify_waiters();
        }
        faults.answer(&self.random).await?;
        Ok(done)
    }
}

impl TierState {
    fn empty(run: Run, birth: FeedId) -> Self {
        let records = Records::new(run, birth, FEED);
        TierState { records, entries: HashMap::new(), leases: HashMap::new() }
    }

    fn snapshot(
        &mut self,
        entries: &[EntryKey],
        slots: impl Iterator<Item = Slot>,
        now: TierTime,
    ) -> Snapshot {
        self.entries.retain(|_, (_, until)| *until > now);
        let records = &self.records;
        Snapshot {
            entries: entries
                .iter()
                .map(|key| self.entries.get(key.bytes()).map(|(bytes, _)| bytes.clone()))
                .collect(),
            slots: slots.map(|slot| records.slot(slot)).collect(),
            epoch: records.epoch(),
            run: records.run(),
            now,
            tail: records.tail(),
            relayed: records.relayed(),
        }
    }

    fn take_lease(&mut self, key: &EntryKey, holder: Holder, until: TierTime, now: TierTime) -> Lease {
        match self.leases.get(key.bytes()) {
            Some((other, ends)) if *other != holder && *ends > now => Lease::Held(ends.since(now)),
            _ => {
                self.leases.insert(key.bytes().to_vec(), (holder, until));
                Lease::Taken
            }
        }
    }

    fn release(&mut self, key: &EntryKey, holder: Holder) {
        if self.leases.get(key.bytes()).is_some_and(|(other, _)| *other == holder) {
            self.leases.remove(key.bytes());
        }
    }

    fn store(&mut self, store: &Store, now: TierTime) {
        self.entries.insert(store.key.bytes().to_vec(), (store.bytes.clone(), now.after(store.keep)));
        if let Some((slots, position)) = &store.learned {
            self.records.learn(slots, *position);
        }
        if let Some(holder) = store.release {
            self.release(&store.key, holder);
        }
    }
}

impl SecondTier for SimulatedTier {
    fn read<'a>(&'a self, entries: &'a [EntryKey], slots: &'a [Slot]) -> Answer<'a, Snapshot> {
        Box::pin(
            self.run(Operation::Read, move |state, now| state.snapshot(entries, slots.iter().copied(), now)),
        )
    }

    fn open<'a>(&'a self, fresh: &'a Fresh, epoch: Generation) -> Answer<'a, Snapshot> {
        Box::pin(self.run(Operation::Open, move |state, now| {
            state.records.open(now, fresh, epoch);
            state.snapshot(&[], fresh.slots(), now)
        }))
    }

    fn store<'a>(&'a self, store: &'a Store) -> Answer<'a, ()> {
        Box::pin(self.run(Operation::Store, move |state, now| state.store(store, now)))
    }

    fn lease<'a>(&'a self, key: &'a EntryKey, holder: Holder, keep: Duration) -> Answer<'a, Lease> {
        Box::pin(
            self.run(Operation::Lease, move |state, now| state.take_lease(key, holder, now.after(keep), now)),
        )
    }

    fn release<'a>(&'a self, key: &'a EntryKey, holder: Holder) -> Answer<'a, ()> {
        Box::pin(self.run(Operation::Release, move |state, _| state.release(key, holder)))
    }

    fn mark<'a>(&'a self, writer: Writer, fresh: &'a Fresh, keep: Duration) -> Answer<'a, Cursor> {
        Box::pin(self.run(Operation::Mark, move |state, now| state.records.mark(now, writer, fresh, keep)))
    }

    fn bump<'a>(
        &'a self,
        writer: Option<Writer>,
        fresh: &'a Fresh,
        position: Option<Position>,
    ) -> Answer<'a, Cursor> {
        Box::pin(
            self.run(Operation::Bump, move |state, now| state.records.bump(now, writer, fresh, position)),
        )
    }

    fn abort<'a>(&'a self, writer: Writer, slots: &'a [Slot]) -> Answer<'a, Cursor> {
        Box::pin(self.run(Operation::Abort, move |state, now| state.records.abort(now, writer, slots)))
    }

    fn epoch<'a>(&'a self, fresh: Generation, when: NewEpoch) -> Answer<'a, EpochRecord> {
        Box::pin(self.run(Operation::Epoch, move |state, now| state.records.renew_epoch(now, fresh, when)))
    }

    fn feed<'a>(
        &'a self,
        after: Option<Cursor>,
        wait: Duration,
        member: Option<(Member, Duration)>,
    ) -> Answer<'a, Feed> {
        Box::pin(async move {
            let mut over = std::pin::pin!(tokio::time::sleep(wait));
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                let feed = self
                    .run(Operation::Feed, move |state, now| state.records.read_feed(now, after, member))
                    .await?;
                let idle = feed.changes.is_empty() && !feed.lost && after.is_some();
                if !idle {
                    return Ok(feed);
                }
                tokio::select! {
                    biased;
                    () = &mut over => return Ok(feed),
                    () = changed => {}
                }
            }
        })
    }

    fn members(&self) -> Answer<'_, Vec<(Member, FeedId)>> {
        Box::pin(self.run(Operation::Members, move |state, now| state.records.members(now)))
    }

    fn relayed(&self, as_of: TierTime) -> Answer<'_, ()> {
        Box::pin(self.run(Operation::Relayed, move |state, now| state.records.relay_to(as_of, now)))
    }

    fn usage(&self) -> Answer<'_, Usage> {
        Box::pin(self.run(Operation::Usage, move |state, _| Usage {
            used_bytes: Some(state.entries.values().map(|(bytes, _)| bytes.len() as u64).sum()),
            ..Usage::default()
        }))
    }
}
