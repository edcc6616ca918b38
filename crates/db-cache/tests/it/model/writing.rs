//! A transaction, step by step: its locks, its mark, COMMIT, its bump, and what becomes of it where one of
//! them is lost.

use super::actions::Guard;
use super::state::{Commit, Place, Slot, State, TAGS, Word, Writing, max};

/// Takes one of what is left, if there is one.
pub(super) fn take(left: &mut u8) -> bool {
    let has = *left > 0;
    *left -= u8::from(has);
    has
}

pub(super) fn lock(s: &mut State, w: usize) -> bool {
    let writer = &mut s.writers[w];
    let is_free = (0..TAGS).all(|tag| !writer.tags[tag] || s.database.locks[tag].is_none());
    // A process that does not know the new primary finds none.
    if writer.at != Writing::Idle || !is_free || s.processes[w].timeline != s.database.timeline {
        return false;
    }
    (0..TAGS).filter(|tag| writer.tags[*tag]).for_each(|tag| s.database.locks[tag] = Some(w as u8));
    writer.at = Writing::Locked;
    true
}

pub(super) fn unlock(s: &mut State, w: usize) {
    s.database.locks.iter_mut().filter(|lock| **lock == Some(w as u8)).for_each(|lock| *lock = None);
}

pub(super) fn mark(s: &mut State, w: usize, without: Guard) -> bool {
    if s.writers[w].at != Writing::Locked || s.tier.is_down {
        return false;
    }
    s.writers[w].at = Writing::Marked;
    match without {
        Guard::R4Mark => {}
        Guard::R2BumpAfterCommit => bump(s, w, None, without),
        _ => set_doubt(s, w, without),
    }
    true
}

fn set_doubt(s: &mut State, w: usize, without: Guard) {
    for tag in slots_of(s, w, without) {
        let slot = slot(s, tag, without);
        slot.doubts |= 1 << w;
        changed(s, tag);
        s.processes[w].words[tag] = Word::Doubt;
    }
}

/// The tags that a writer tells of.
fn slots_of(s: &State, w: usize, without: Guard) -> Vec<usize> {
    // The second writer's program is of another version.
    let is_apart = without == Guard::R13SharedSlots && w == 1;
    (0..TAGS).filter(|tag| s.writers[w].tags[*tag] && !is_apart).collect()
}

/// The record of a tag, made where it is absent.
pub(super) fn slot(s: &mut State, tag: usize, without: Guard) -> &mut Slot {
    if s.tier.slots[tag].is_none() {
        let generation = if without == Guard::FreshRecords { 2 + tag as u8 } else { fresh(s) };
        s.tier.slots[tag] = Some(Slot { generation, floor: None, doubts: 0 });
        changed(s, tag);
    }
    s.tier.slots[tag].as_mut().unwrap()
}

pub(super) fn fresh(s: &mut State) -> u8 {
    s.next_generation += 1;
    s.next_generation
}

fn changed(s: &mut State, tag: usize) {
    s.processes.iter_mut().for_each(|process| process.pending[tag] = true);
}

/// The request is lost, so the transaction rolls back; where only the answer is lost, the doubt stays, and
/// ends by time.
pub(super) fn lose_mark(s: &mut State, w: usize) -> bool {
    if s.writers[w].at != Writing::Locked || !(s.tier.is_down || take(&mut s.left.lost_messages)) {
        return false;
    }
    // Where it may, it commits all the same.
    s.is_unmarked = s.left.outages > 0 || s.tier.is_down;
    s.writers[w].at = if s.is_unmarked { Writing::Marked } else { Writing::Over };
    if !s.is_unmarked {
        unlock(s, w);
    }
    true
}

pub(super) fn log(s: &mut State, w: usize, without: Guard) -> bool {
    let writer = s.writers[w];
    let is_current = s.processes[w].timeline == s.database.timeline;
    if writer.at != Writing::Marked || !is_current || !is_fenced(s, w, without) {
        return false;
    }
    let mut versions = [0; TAGS];
    for tag in (0..TAGS).filter(|tag| writer.tags[*tag]) {
        versions[tag] = s.database.next_version;
    }
    s.database.next_version += 1;
    s.database.log.push(Commit { writer: w as u8, versions, shows: false });
    let place = (s.database.timeline, s.database.log.len() as u8);
    s.writers[w] = super::state::Writer { at: Writing::Logged, versions, place, ..writer };
    true
}

/// A fenced transaction waits until no first tier serves what it touches.
fn is_fenced(s: &State, w: usize, without: Guard) -> bool {
    let knows = |process: &super::state::Process| {
        let has_all = (0..TAGS).all(|tag| !s.writers[w].tags[tag] || !process.pending[tag]);
        !process.has_lease || (has_all && process.cursor == Some((s.tier.run, s.tier.feed)))
    };
    !s.writers[w].is_fenced || without == Guard::Fence || s.processes.iter().all(knows)
}

pub(super) fn roll_back(s: &mut State, w: usize, without: Guard) -> bool {
    if s.writers[w].at != Writing::Marked || !take(&mut s.left.rollbacks) || s.tier.is_down {
        return false;
    }
    s.writers[w].at = Writing::Over;
    unlock(s, w);
    abort(s, w);
    if without == Guard::R3RollbackKeeps {
        bump(s, w, None, without);
    }
    true
}

fn abort(s: &mut State, w: usize) {
    for tag in 0..TAGS {
        if let Some(slot) = &mut s.tier.slots[tag]
            && slot.doubts & (1 << w) != 0
        {
            slot.doubts &= !(1 << w);
            changed(s, tag);
        }
    }
}

/// The database shows the next commit, whatever has become of the process that sent it.
pub(super) fn show(s: &mut State) -> bool {
    let Some(commit) = s.database.log.iter_mut().find(|commit| !commit.shows) else { return false };
    commit.shows = true;
    let w = usize::from(commit.writer);
    unlock(s, w);
    if s.writers[w].at == Writing::Logged {
        s.writers[w].at = Writing::Committed;
    }
    true
}

pub(super) fn lose_outcome(s: &mut State, w: usize, without: Guard) -> bool {
    if !matches!(s.writers[w].at, Writing::Logged | Writing::Committed) || !take(&mut s.left.unknown_outcomes)
    {
        return false;
    }
    s.writers[w].at = Writing::Unknown;
    if without == Guard::R5UnknownStaysInDoubt {
        abort(s, w);
        s.writers[w].at = Writing::Over;
    }
    true
}

pub(super) fn bump_own(s: &mut State, w: usize, without: Guard) -> bool {
    if s.writers[w].at != Writing::Committed || s.tier.is_down {
        return false;
    }
    if without != Guard::R2BumpAfterCommit {
        bump(s, w, Some(s.writers[w].place), without);
    }
    answer(s, w, Writing::Over);
    true
}

/// Gives what a writer touches fresh generations and ends its doubts.
pub(super) fn bump(s: &mut State, w: usize, place: Option<Place>, without: Guard) {
    for tag in slots_of(s, w, without) {
        let was_there = s.tier.slots[tag].is_some();
        let generation = fresh(s);
        let slot = slot(s, tag, without);
        slot.generation = generation;
        slot.floor = if was_there { raised(slot.floor, place) } else { None };
        slot.doubts &= !(1 << w);
        changed(s, tag);
        s.processes[w].words[tag] = Word::Doubt;
    }
}

fn raised(floor: Option<Place>, place: Option<Place>) -> Option<Place> {
    match (floor?, place?) {
        (old, new) if old.0 == new.0 => Some(old.max(new)),
        (old, new) if new.0 > old.0 => Some(new),
        _ => None,
    }
}

/// The caller is told that it has committed, unless a failover has lost it already.
fn answer(s: &mut State, w: usize, at: Writing) {
    let told = s.writers[w].versions.map(|version| if s.database.is_lost(version) { 0 } else { version });
    s.acknowledged = max(s.acknowledged, told);
    if s.writers[w].is_fenced {
        s.fenced = max(s.fenced, told);
    }
    s.writers[w].at = at;
}

/// The answer to a bump is lost: it has happened, and is tried again.
pub(super) fn lose_bump(s: &mut State, w: usize) -> bool {
    if s.writers[w].at != Writing::Committed || s.tier.is_down || !take(&mut s.left.lost_messages) {
        return false;
    }
    bump(s, w, Some(s.writers[w].place), Guard::None);
    true
}

/// The second tier has been silent for so long that nobody trusts it: the caller is answered.
pub(super) fn answer_untold(s: &mut State, w: usize, without: Guard) -> bool {
    let nobody_trusts = s.tier.is_down && s.processes.iter().all(|process| process.in_quarantine);
    if s.writers[w].at != Writing::Committed || !(nobody_trusts || without == Guard::AnswerTold) {
        return false;
    }
    answer(s, w, Writing::Untold);
    true
}

pub(super) fn tell(s: &mut State, w: usize) -> bool {
    if !matches!(s.writers[w].at, Writing::Untold) || s.tier.is_down {
        return false;
    }
    bump(s, w, None, Guard::None);
    s.writers[w].at = Writing::Over;
    true
}

/// Where nobody says what became of a transaction, its process bumps when it must be over, in case the mark
/// is gone.
pub(super) fn give_up(s: &mut State, w: usize) {
    if s.writers[w].at == Writing::Unknown {
        bump(s, w, None, Guard::None);
        s.writers[w].at = Writing::Over;
    }
}

/// A doubt ends by time, with a fresh generation: its transaction must be over by then.
pub(super) fn end_doubt(s: &mut State, w: usize, without: Guard) -> bool {
    let is_over = matches!(s.writers[w].at, Writing::Over | Writing::Unknown | Writing::Untold)
        && s.database.log.iter().all(|commit| commit.shows || usize::from(commit.writer) != w);
    let in_doubt = |slot: &Option<Slot>| slot.is_some_and(|slot| slot.doubts & (1 << w) != 0);
    if s.tier.is_down || !(is_over || without == Guard::R10TierClock) || !s.tier.slots.iter().any(in_doubt) {
        return false;
    }
    for tag in 0..TAGS {
        if in_doubt(&s.tier.slots[tag]) {
            let generation = fresh(s);
            let slot = slot(s, tag, without);
            *slot = Slot { generation, floor: None, doubts: slot.doubts & !(1 << w) };
            changed(s, tag);
        }
    }
    true
}
