//! The records of a second tier as a pure state machine: time is passed in, and nothing waits.
//!
//! It is what the tier in memory and the first tier alone run on, and what the scripts of Redis do.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::generation::Generation;
use crate::position::{Floor, Position};
use crate::record::{EpochRecord, FeedId, Run, SlotRecord, TierTime};
use crate::second_tier::{Change, Cursor, Feed, Fresh, Member, NewEpoch, Writer};
use crate::tag::Slot;

/// Slots, doubts, epoch, feed and members.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    run: Run,
    slots: BTreeMap<Slot, Record>,
    epoch: Option<EpochRecord>,
    tail: FeedId,
    /// The feed, and up to where it was cut.
    log: VecDeque<(FeedId, Change)>,
    cut: FeedId,
    log_limit: usize,
    members: BTreeMap<Member, (FeedId, TierTime)>,
    relayed: Option<TierTime>,
}

#[derive(Debug, Clone)]
struct Record {
    generation: Generation,
    floor: Floor,
    changed: FeedId,
    doubts: BTreeMap<Writer, TierTime>,
}

impl Record {
    fn seen(&self) -> SlotRecord {
        SlotRecord {
            generation: self.generation,
            floor: self.floor,
            doubt: self.doubts.values().max().copied(),
            changed: self.changed,
        }
    }
}

impl Records {
    /// Nothing yet. The feed begins at `birth`, which no other feed has, so that a reader of another one is
    /// told.
    pub(crate) fn new(run: Run, birth: FeedId, log_limit: usize) -> Self {
        Records {
            run,
            slots: BTreeMap::new(),
            epoch: None,
            tail: birth,
            log: VecDeque::new(),
            cut: birth,
            log_limit,
            members: BTreeMap::new(),
            relayed: None,
        }
    }

    pub(crate) fn run(&self) -> Run {
        self.run
    }

    pub(crate) fn tail(&self) -> FeedId {
        self.tail
    }

    pub(crate) fn epoch(&self) -> Option<EpochRecord> {
        self.epoch
    }

    /// Up to when the relay has caught up, as it said last.
    pub(crate) fn relayed(&self) -> Option<TierTime> {
        self.relayed
    }

    pub(crate) fn slot(&self, slot: Slot) -> Option<SlotRecord> {
        self.slots.get(&slot).map(Record::seen)
    }

    /// Makes what is absent, settles what is over.
    pub(crate) fn open(&mut self, now: TierTime, fresh: &Fresh, epoch: Generation) {
        if self.epoch.is_none() {
            self.set_epoch(now, epoch, None);
        }
        for (slot, generation) in &fresh.0 {
            match self.slots.get_mut(slot) {
                None => {
                    self.create(now, *slot, *generation);
                }
                Some(record) => {
                    let before = record.doubts.len();
                    record.doubts.retain(|_, until| *until > now);
                    if record.doubts.len() < before {
                        // What became of that transaction nobody knows, nor where it committed.
                        record.generation = *generation;
                        record.floor = Floor::Unknown;
                        self.tell(now, *slot);
                    }
                }
            }
        }
    }

    pub(crate) fn mark(&mut self, now: TierTime, writer: Writer, fresh: &Fresh, keep: Duration) -> Cursor {
        for (slot, generation) in &fresh.0 {
            if !self.slots.contains_key(slot) {
                self.create(now, *slot, *generation);
            }
            if let Some(record) = self.slots.get_mut(slot) {
                record.doubts.insert(writer, now.after(keep));
            }
            self.tell(now, *slot);
        }
        self.end()
    }

    pub(crate) fn bump(
        &mut self,
        now: TierTime,
        writer: Option<Writer>,
        fresh: &Fresh,
        position: Option<Position>,
    ) -> Cursor {
        for (slot, generation) in &fresh.0 {
            match self.slots.get_mut(slot) {
                // What was bumped here before may lie behind this commit.
                None => self.create(now, *slot, *generation),
                Some(record) => {
                    record.generation = *generation;
                    record.floor = record.floor.raised_to(position);
                    if let Some(writer) = writer {
                        record.doubts.remove(&writer);
                    }
                    self.tell(now, *slot);
                }
            }
        }
        self.end()
    }

    pub(crate) fn abort(&mut self, now: TierTime, writer: Writer, slots: &[Slot]) -> Cursor {
        for slot in slots {
            let removed = self.slots.get_mut(slot).and_then(|record| record.doubts.remove(&writer));
            if removed.is_some() {
                self.tell(now, *slot);
            }
        }
        self.end()
    }

    pub(crate) fn renew_epoch(&mut self, now: TierTime, fresh: Generation, when: NewEpoch) -> EpochRecord {
        let history = match when {
            NewEpoch::IfHistoryIs(history) => Some(history),
            NewEpoch::Always | NewEpoch::IfOfAnotherRun => self.epoch.and_then(|epoch| epoch.history),
        };
        match self.epoch {
            Some(epoch) if !when.replaces(&epoch, self.run) => epoch,
            _ => self.set_epoch(now, fresh, history),
        }
    }

    pub(crate) fn learn(&mut self, slots: &[(Slot, Generation)], position: Position) {
        for (slot, generation) in slots {
            if let Some(record) = self.slots.get_mut(slot)
                && record.generation == *generation
                && record.doubts.is_empty()
            {
                // A floor from before the last epoch was void: this one is the first that counts.
                let void = self.epoch.is_some_and(|epoch| record.changed < epoch.changed);
                let floor = if void { Floor::Unknown } else { record.floor };
                record.floor = floor.learned(position);
                record.changed = record.changed.max(self.tail);
            }
        }
    }

    pub(crate) fn read_feed(
        &mut self,
        now: TierTime,
        after: Option<Cursor>,
        member: Option<(Member, Duration)>,
    ) -> Feed {
        self.members.retain(|_, (_, until)| *until > now);
        if let (Some((member, keep)), Some(after)) = (member, after) {
            self.members.insert(member, (after.id, now.after(keep)));
        }
        let nothing = Feed {
            changes: Vec::new(),
            cursor: self.end(),
            lost: false,
            epoch: self.epoch,
            now,
            relayed: self.relayed,
        };
        let Some(after) = after else { return nothing };
        let is_there =
            after.id == self.cut || self.log.binary_search_by_key(&after.id, |(id, _)| *id).is_ok();
        if after.run != self.run || !is_there {
            return Feed { lost: true, ..nothing };
        }
        let changes = self.log.iter().filter(|(id, _)| *id > after.id).map(|(_, change)| *change).collect();
        Feed { changes, epoch: None, ..nothing }
    }

    /// The only reader of the feed has applied it up to here.
    pub(crate) fn forget_up_to(&mut self, applied: Cursor) {
        while self.log.front().is_some_and(|(id, _)| *id <= applied.id && applied.run == self.run) {
            if let Some((id, _)) = self.log.pop_front() {
                self.cut = id;
            }
        }
    }

    pub(crate) fn members(&self, now: TierTime) -> Vec<(Member, FeedId)> {
        let alive = self.members.iter().filter(|(_, (_, until))| *until > now);
        alive.map(|(member, (applied, _))| (*member, *applied)).collect()
    }

    fn end(&self) -> Cursor {
        Cursor { run: self.run, id: self.tail }
    }

    fn create(&mut self, now: TierTime, slot: Slot, generation: Generation) {
        let changed = self.tail;
        let record = Record { generation, floor: Floor::Unknown, changed, doubts: BTreeMap::new() };
        self.slots.insert(slot, record);
        self.tell(now, slot);
    }

    fn set_epoch(
        &mut self,
        now: TierTime,
        generation: Generation,
        history: Option<crate::position::History>,
    ) -> EpochRecord {
        let epoch = EpochRecord { generation, history, run: self.run, changed: self.next_id(now) };
        self.epoch = Some(epoch);
        self.append(epoch.changed, Change::Epoch(epoch));
        epoch
    }

    /// Appends what holds for the slot now.
    fn tell(&mut self, now: TierTime, slot: Slot) {
        let id = self.next_id(now);
        let Some(record) = self.slots.get_mut(&slot) else { return };
        record.changed = id;
        let change = match record.doubts.is_empty() {
            true => Change::Settled(slot, record.generation),
            false => Change::InDoubt(slot),
        };
        self.append(id, change);
    }

    fn next_id(&self, now: TierTime) -> FeedId {
        match now.0 > self.tail.0 {
            true => FeedId(now.0, 0),
            false => FeedId(self.tail.0, self.tail.1 + 1),
        }
    }

    fn append(&mut self, id: FeedId, change: Change) {
        self.tail = id;
        self.log.push_back((id, change));
        while self.log.len() > self.log_limit {
            if let Some((id, _)) = self.log.pop_front() {
                self.cut = id;
            }
        }
    }
}

/// What goes wrong with a tier in memory.
#[cfg(feature = "simulation")]
impl Records {
    /// Another server takes over with these records.
    pub(crate) fn taken_over(mut self, run: Run) -> Self {
        self.run = run;
        self.members.clear();
        self
    }

    /// The relay has caught up to `as_of`. What another server's clock said, which is ahead of this one's,
    /// counts for nothing.
    pub(crate) fn relay_to(&mut self, as_of: TierTime, now: TierTime) {
        if as_of <= now {
            self.relayed = Some(as_of);
        }
    }

    /// One record of a slot is evicted.
    pub(crate) fn evict(&mut self, slot: Slot) {
        self.slots.remove(&slot);
    }

    /// The epoch's record is evicted.
    pub(crate) fn evict_epoch(&mut self) {
        self.epoch = None;
    }

    /// The feed is cut down to its last changes.
    pub(crate) fn cut_feed(&mut self, keep: usize) {
        while self.log.len() > keep {
            if let Some((id, _)) = self.log.pop_front() {
                self.cut = id;
            }
        }
    }
}
