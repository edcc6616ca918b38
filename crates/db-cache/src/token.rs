//! What a load takes before its snapshot: the generations of its slots, and what they ask of the load.

use crate::clock::Moment;
use crate::envelope::Stamps;
use crate::generation::Generation;
use crate::knowledge::Sight;
use crate::load::LoadFrom;
use crate::mode::SessionToken;
use crate::mutant::Mutant;
use crate::position::Floor;
use crate::record::{EpochRecord, FeedId, Run, SlotRecord, TierTime};
use crate::second_tier::Snapshot;
use crate::stats::Miss;
use crate::tag::Slot;

/// The records under which something was read, all from one run of the second tier.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// Before the first of the reads was sent.
    pub(crate) asked: Moment,
    pub(crate) sight: Sight,
    pub(crate) epoch: EpochRecord,
    pub(crate) run: Run,
    pub(crate) now: TierTime,
    pub(crate) tail: FeedId,
    pub(crate) slots: SlotRecords,
}

/// Records by their slots, in order: there are few.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlotRecords(Vec<(Slot, SlotRecord)>);

impl SlotRecords {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Slot, SlotRecord)> {
        self.0.iter()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &SlotRecord> {
        self.0.iter().map(|(_, record)| record)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&SlotRecord> {
        let place = self.0.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        self.0.get(place).map(|(_, record)| record)
    }

    /// Adds records, in place of those that it has of the same slots.
    pub(crate) fn add(&mut self, more: SlotRecords) {
        self.0.retain(|(slot, _)| more.get(*slot).is_none());
        self.0.extend(more.0);
        self.0.sort_unstable_by_key(|(slot, _)| *slot);
    }
}

/// Each slot comes once.
impl FromIterator<(Slot, SlotRecord)> for SlotRecords {
    fn from_iter<I: IntoIterator<Item = (Slot, SlotRecord)>>(records: I) -> Self {
        let mut records: Vec<_> = records.into_iter().collect();
        records.sort_unstable_by_key(|(slot, _)| *slot);
        SlotRecords(records)
    }
}

impl Token {
    /// What a trusted snapshot tells; none where a slot is absent.
    pub(crate) fn new(
        asked: Moment,
        sight: Sight,
        epoch: EpochRecord,
        slots: &[Slot],
        snapshot: &Snapshot,
    ) -> Option<Self> {
        let records =
            slots.iter().zip(&snapshot.slots).map(|(slot, record)| record.map(|record| (*slot, record)));
        Some(Token {
            asked,
            sight,
            epoch,
            run: snapshot.run,
            now: snapshot.now,
            tail: snapshot.tail,
            slots: records.collect::<Option<_>>()?,
        })
    }

    /// The same of those slots that are there.
    pub(crate) fn of_present(
        asked: Moment,
        sight: Sight,
        epoch: EpochRecord,
        slots: &[Slot],
        snapshot: &Snapshot,
    ) -> Self {
        let records = slots.iter().zip(&snapshot.slots);
        Token {
            asked,
            sight,
            epoch,
            run: snapshot.run,
            now: snapshot.now,
            tail: snapshot.tail,
            slots: records.filter_map(|(slot, record)| record.map(|record| (*slot, record))).collect(),
        }
    }

    /// The same of a part of its slots; none where it lacks one of them.
    pub(crate) fn of_slots(&self, slots: impl IntoIterator<Item = Slot>) -> Option<Self> {
        let mut slots: Vec<Slot> = slots.into_iter().collect();
        slots.sort_unstable();
        slots.dedup();
        let records = slots.into_iter().map(|slot| self.slots.get(slot).map(|record| (slot, *record)));
        let Token { asked, sight, epoch, run, now, tail, .. } = *self;
        Some(Token { asked, sight, epoch, run, now, tail, slots: records.collect::<Option<_>>()? })
    }

    /// Whether a transaction that touches one of the slots is in doubt.
    pub(crate) fn is_in_doubt(&self, mutant: Mutant) -> bool {
        !ignores_doubt(mutant) && self.slots.values().any(|record| record.doubt.is_some())
    }

    /// Whether a doubt has gone on for so long that it must be settled.
    pub(crate) fn has_overdue_doubt(&self) -> bool {
        self.slots.values().any(|record| record.doubt.is_some_and(|until| until <= self.now))
    }

    /// Up to where a standby must have replayed.
    fn floor(&self, mutant: Mutant) -> Option<Floor> {
        if mutant == Mutant::IgnoreTimeline {
            return self.slots.values().map(|record| record.floor).reduce(Floor::and);
        }
        self.slots.values().map(|record| record.floor_in(&self.epoch)).reduce(Floor::and)
    }

    /// Which server a load may ask.
    ///
    /// `session` is what its caller has written.
    pub(crate) fn load_from(&self, session: Option<SessionToken>, mutant: Mutant) -> LoadFrom {
        if self.is_in_doubt(mutant) {
            return LoadFrom::Primary;
        }
        let floor = self.floor(mutant).unwrap_or_default();
        let written = session.and_then(|token| token.position);
        let floor = written.map_or(floor, |position| floor.and(Floor::At(position)));
        match floor {
            Floor::Unknown => LoadFrom::Primary,
            Floor::At(_) => LoadFrom::Replayed(floor),
        }
    }

    /// What an entry that is loaded now is stamped with.
    pub(crate) fn stamps(&self) -> Stamps {
        let slots = self.slots.iter().map(|(slot, record)| (*slot, record.generation)).collect();
        Stamps { epoch: self.epoch.generation, slots }
    }

    /// The slots whose floor a load from the primary teaches.
    pub(crate) fn generations(&self) -> Vec<(Slot, Generation)> {
        self.slots.iter().map(|(slot, record)| (*slot, record.generation)).collect()
    }

    /// Whether an entry with these stamps is valid now.
    pub(crate) fn check(&self, stamps: &Stamps, mutant: Mutant) -> Result<(), Miss> {
        if mutant == Mutant::IgnoreStamps {
            return Ok(());
        }
        if stamps.epoch != self.epoch.generation {
            return Err(Miss::Invalidated);
        }
        for (slot, generation) in &stamps.slots {
            let record = self.slots.get(*slot).ok_or(Miss::Invalidated)?;
            if record.doubt.is_some() && !ignores_doubt(mutant) {
                return Err(Miss::InDoubt);
            }
            if record.generation != *generation {
                return Err(Miss::Invalidated);
            }
        }
        Ok(())
    }

    /// Takes in slots that only the value told: they count if they have not changed since this token.
    pub(crate) fn add_unchanged(&mut self, later: Token, mutant: Mutant) -> bool {
        if mutant != Mutant::LateStamp && (later.run != self.run || later.epoch != self.epoch) {
            return false;
        }
        let unchanged = |record: &SlotRecord| record.changed <= self.tail && record.doubt.is_none();
        if mutant != Mutant::LateStamp && !later.slots.values().all(unchanged) {
            return false;
        }
        self.slots.add(later.slots);
        true
    }
}

/// A clock that is an hour ahead ends every doubt at once.
fn ignores_doubt(mutant: Mutant) -> bool {
    matches!(mutant, Mutant::IgnoreDoubt | Mutant::LocalClock)
}
