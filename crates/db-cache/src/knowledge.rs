//! What one process knows of the slots: a word for each, kept by the feed, that every hit in the first tier
//! compares.
//!
//! A word is a generation, "unknown" or "in doubt". What a read of the second tier told enters only where the
//! word is still "unknown" since before that read was sent: a word that the feed has written since is newer,
//! and a reset makes every "unknown" a different one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::generation::Generation;
use crate::position::History;
use crate::record::{EpochRecord, Run};
use crate::second_tier::{Change, Cursor};
use crate::tag::Slot;

/// What is known of the slots.
#[derive(Debug)]
pub(crate) struct Knowledge {
    words: Box<[AtomicU64]>,
    /// The generation of the epoch, or 0 where no entry may be trusted.
    epoch: AtomicU64,
    /// The moment at which the last request was sent whose answer said that nothing is missing; 0 is never.
    confirmed: AtomicU64,
    incarnation: AtomicU64,
    doubts: AtomicU64,
    /// How often a word or the epoch has changed: counted after each change, before anybody is told of it.
    changes: AtomicU64,
    feed: Mutex<FeedView>,
}

#[derive(Debug, Default)]
struct FeedView {
    cursor: Option<Cursor>,
    epoch: Option<EpochRecord>,
    history: Option<History>,
}

/// A moment in the life of the table, to be taken before a read of the second tier is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight(u64);

/// What an epoch means to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its entries may be trusted.
    Trusted,
    /// Another run of the second tier made it: it needs a fresh one.
    OtherRun,
    /// The database has moved on: it needs a fresh one.
    HistoryBehind(History),
    /// It is of a database that this process does not know: a failover it has not seen, or another
    /// installation.
    HistoryAhead,
}

const UNKNOWN: u64 = 1 << 63;
const IN_DOUBT: u64 = 3 << 62;
const COUNTER: u64 = (1 << 62) - 1;

impl Knowledge {
    pub(crate) fn new() -> Self {
        let words = (0..Slot::COUNT).map(|_| AtomicU64::new(UNKNOWN)).collect();
        Knowledge {
            words,
            epoch: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            doubts: AtomicU64::new(0),
            changes: AtomicU64::new(1),
            feed: Mutex::default(),
        }
    }

    /// A number that is another one after each change of a word or of the epoch; never 0.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The word of a slot, for stamps.
    pub(crate) fn word(&self, slot: Slot) -> u64 {
        self.words.get(slot.number() as usize).map_or(IN_DOUBT, |word| word.load(Ordering::Acquire))
    }

    /// The generation of the epoch; 0 where nothing may be trusted.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether everything that changed up to `within` ago is in the table.
    #[inline]
    pub(crate) fn is_confirmed(&self, now: Moment, within: Duration) -> bool {
        let confirmed = self.confirmed.load(Ordering::Acquire);
        confirmed != 0 && now < Moment(confirmed).after(within)
    }

    /// When the feed was confirmed last.
    pub(crate) fn confirmed_at(&self) -> Option<Moment> {
        Some(self.confirmed.load(Ordering::Acquire)).filter(|at| *at != 0).map(Moment)
    }

    /// Whether everything up to that place of the feed is in the table.
    pub(crate) fn has_applied(&self, wanted: Cursor) -> bool {
        self.feed().cursor.is_some_and(|cursor| cursor.run == wanted.run && cursor.id >= wanted.id)
    }

    /// The history of the database, as this process knows it.
    pub(crate) fn history(&self) -> Option<History> {
        self.feed().history
    }

    /// To be called before a read of the second tier is sent.
    pub(crate) fn sight(&self) -> Sight {
        Sight(self.incarnation.load(Ordering::Acquire))
    }

    /// What a read told of a slot that was sent after `sight`.
    pub(crate) fn learn(&self, sight: Sight, slot: Slot, generation: Generation) {
        if let Some(word) = self.words.get(slot.number() as usize) {
            let unknown = UNKNOWN | (sight.0 & COUNTER);
            // Failure means that the feed has said something newer.
            let learned =
                word.compare_exchange(unknown, generation.bits(), Ordering::AcqRel, Ordering::Relaxed);
            if learned.is_ok() {
                self.has_changed();
            }
        }
    }

    /// The feed starts at `cursor`: everything is unknown.
    pub(crate) fn restart(&self, cursor: Cursor, epoch: Option<EpochRecord>) {
        let mut feed = self.feed();
        self.confirmed.store(0, Ordering::Release);
        self.forget();
        feed.cursor = Some(cursor);
        feed.epoch = epoch;
        self.publish(&feed);
    }

    /// What the feed told, up to `cursor`.
    pub(crate) fn apply(&self, changes: &[Change], cursor: Cursor) {
        let mut feed = self.feed();
        for change in changes {
            match *change {
                Change::Settled(slot, generation) => self.set(slot, generation.bits()),
                Change::InDoubt(slot) => self.set(slot, self.next_doubt()),
                Change::Epoch(record) => feed.epoch = Some(record),
            }
        }
        feed.cursor = Some(cursor);
        self.publish(&feed);
    }

    /// The feed was asked at `asked`, and the answer said that nothing is missing.
    pub(crate) fn confirm(&self, asked: Moment) {
        self.confirmed.fetch_max(asked.0, Ordering::AcqRel);
    }

    /// This process has changed slots, which the feed will tell at `at`: until then they are in doubt.
    pub(crate) fn changed_here(&self, slots: &[Slot], at: Cursor) {
        let feed = self.feed();
        if feed.cursor.is_none_or(|cursor| cursor.run != at.run || cursor.id < at.id) {
            slots.iter().for_each(|slot| self.set(*slot, self.next_doubt()));
        }
        drop(feed);
    }

    /// This process has changed slots that the second tier has not heard of.
    pub(crate) fn changed_unheard(&self, slots: &[Slot]) {
        slots.iter().for_each(|slot| self.set(*slot, self.next_doubt()));
    }

    /// The database has this history now. True where that is news.
    pub(crate) fn set_history(&self, history: History) -> bool {
        let mut feed = self.feed();
        let is_news = match feed.history {
            None => true,
            Some(old) => history.follows(old) || history.system != old.system,
        };
        if is_news {
            feed.history = Some(history);
            self.forget();
            self.publish(&feed);
        }
        is_news
    }

    /// What an epoch that a read of run `run` told means.
    pub(crate) fn judge(&self, epoch: &EpochRecord, run: Run) -> Verdict {
        judge(self.feed().history, epoch, run)
    }

    /// Everything is unknown. The caller holds the feed.
    fn forget(&self) {
        self.epoch.store(0, Ordering::Release);
        let next = self.incarnation.load(Ordering::Acquire).wrapping_add(1) & COUNTER;
        for word in &self.words {
            word.store(UNKNOWN | next, Ordering::Release);
        }
        self.has_changed();
        // Only reads that are sent from now on may fill the table: they are answered later than the feed
        // starts.
        self.incarnation.store(next, Ordering::Release);
    }

    fn publish(&self, feed: &FeedView) {
        let trusted = feed
            .epoch
            .zip(feed.cursor)
            .filter(|(epoch, cursor)| judge(feed.history, epoch, cursor.run) == Verdict::Trusted);
        let bits = trusted.map_or(0, |(epoch, _)| epoch.generation.bits());
        if self.epoch.swap(bits, Ordering::AcqRel) != bits {
            self.has_changed();
        }
    }

    /// To be called after each change of a word.
    fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn set(&self, slot: Slot, bits: u64) {
        if let Some(word) = self.words.get(slot.number() as usize) {
            word.store(bits, Ordering::Release);
            self.has_changed();
        }
    }

    fn next_doubt(&self) -> u64 {
        IN_DOUBT | (self.doubts.fetch_add(1, Ordering::Relaxed) & COUNTER)
    }

    fn feed(&self) -> MutexGuard<'_, FeedView> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(history: Option<History>, epoch: &EpochRecord, run: Run) -> Verdict {
    if epoch.run != run {
        return Verdict::OtherRun;
    }
    match (history, epoch.history) {
        (None, _) => Verdict::Trusted,
        (Some(ours), None) => Verdict::HistoryBehind(ours),
        (Some(ours), Some(theirs)) if ours == theirs => Verdict::Trusted,
        (Some(ours), Some(theirs)) if ours.follows(theirs) => Verdict::HistoryBehind(ours),
        (Some(_), Some(_)) => Verdict::HistoryAhead,
    }
}
