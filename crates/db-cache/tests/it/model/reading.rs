//! A read, step by step: the first tier, one look at the second, a load, what is kept of it.

use super::actions::{Guard, set_epoch};
use super::state::{Both, Entry, Place, Process, Reading, State, TAGS, Token, Word, max};
use super::writing::slot;

type Done = Option<Result<(), String>>;

/// A read begins; the first tier may answer it at once.
pub(super) fn begin(s: &mut State, r: usize, without: Guard) -> Done {
    let reader = &s.readers[r];
    if reader.at != Reading::Idle || reader.reads_left == 0 || reader.store.is_some() {
        return None;
    }
    let process = &s.processes[r];
    let owed = if reader.is_strict { max(s.acknowledged, s.seen) } else { max(process.owed, s.fenced) };
    let knew = process.timeline;
    let may_hit = process.has_lease || without == Guard::R7Lease;
    let hit =
        process.entry.filter(|entry| may_hit && !reader.is_strict && is_valid_here(process, entry, without));
    s.readers[r].reads_left -= 1;
    if let Some(entry) = hit {
        return Some(finish(s, r, owed, knew, entry.value));
    }
    s.readers[r].at = Reading::Began { owed, knew };
    Some(Ok(()))
}

pub(super) fn is_valid_here(process: &Process, entry: &Entry, without: Guard) -> bool {
    let is_same = |tag: usize| process.words[tag] == Word::Generation(entry.generations[tag]);
    without == Guard::R8FirstTierChecked
        || (process.epoch != 0 && process.epoch == entry.epoch && (0..TAGS).all(is_same))
}

/// The entry, the slots and the epoch in one round trip; what is absent is made.
pub(super) fn look(s: &mut State, r: usize, without: Guard) -> Done {
    let Reading::Began { owed, knew } = s.readers[r].at else { return None };
    let incarnation = s.processes[r].incarnation;
    if !is_trusted(s, r, without) {
        s.readers[r].at = Reading::Opened { owed, knew, token: None };
        return Some(Ok(()));
    }
    let epoch = s.tier.epoch?;
    if let Some(entry) = valid_entry(s, without) {
        let doubts = s.tier.slots.map(|slot| slot.map_or(0, |slot| slot.doubts));
        take_in(s, r, incarnation, entry, &doubts);
        return Some(finish(s, r, owed, knew, entry.value));
    }
    let slots: Both<_> = std::array::from_fn(|tag| *slot(s, tag, without));
    let generations = slots.map(|slot| slot.generation);
    let in_doubt = slots.iter().any(|slot| slot.doubts != 0) && without != Guard::R9Doubt;
    let floors = slots.map(|slot| slot.floor);
    let token = Some(Token { epoch, generations, in_doubt, floors, incarnation });
    s.readers[r].at = Reading::Opened { owed, knew, token };
    Some(Ok(()))
}

/// The entry of the second tier, if it is valid.
fn valid_entry(s: &State, without: Guard) -> Option<Entry> {
    let epoch = s.tier.epoch?;
    let is_stamped = |entry: &Entry, tag: usize| {
        s.tier.slots[tag].is_some_and(|slot| {
            slot.generation == entry.generations[tag] && (slot.doubts == 0 || without == Guard::R9Doubt)
        })
    };
    s.tier.entry.filter(|entry| {
        without == Guard::R1Stamps
            || (entry.epoch == epoch.generation && (0..TAGS).all(|tag| is_stamped(entry, tag)))
    })
}

/// What a process would be served from the second tier.
pub(super) fn valid_there(s: &mut State, p: usize, without: Guard) -> Option<Entry> {
    let is_trusted = is_trusted(s, p, without);
    // What is absent is made by the next look.
    for tag in 0..TAGS {
        slot(s, tag, without);
    }
    valid_entry(s, without).filter(|_| is_trusted)
}

/// Whether the process trusts what the tier says; where another epoch is due, it makes one.
fn is_trusted(s: &mut State, r: usize, without: Guard) -> bool {
    if s.tier.is_down || s.processes[r].in_quarantine {
        return false;
    }
    let known = s.processes[r].timeline;
    match s.tier.epoch {
        None => set_epoch(s, known, without),
        Some(epoch) if epoch.run != s.tier.run && without != Guard::R12Run => {
            set_epoch(s, epoch.timeline, without);
        }
        Some(epoch) if epoch.timeline < known && without != Guard::R15Epoch => set_epoch(s, known, without),
        Some(epoch) => return epoch.timeline <= known || without == Guard::R15Epoch,
    }
    false
}

/// Keeps an entry in the first tier; the table learns what it does not know.
fn take_in(s: &mut State, r: usize, incarnation: u8, entry: Entry, doubts: &Both<u8>) {
    let process = &mut s.processes[r];
    for (tag, doubts) in doubts.iter().enumerate() {
        if process.words[tag] == Word::Unknown && process.incarnation == incarnation && *doubts == 0 {
            process.words[tag] = Word::Generation(entry.generations[tag]);
        }
    }
    process.entry = Some(entry);
}

pub(super) fn load_on_primary(s: &mut State, r: usize) -> bool {
    let Reading::Opened { owed, knew, token } = s.readers[r].at else { return false };
    // A process that does not know the new primary finds none.
    if s.processes[r].timeline != s.database.timeline {
        return false;
    }
    let value = s.database.shown();
    let primary = Some((s.database.timeline, s.database.log.len() as u8));
    s.readers[r].at = Reading::Loaded { owed, knew, token, value, primary };
    true
}

pub(super) fn load_on_standby(s: &mut State, r: usize, without: Guard) -> bool {
    let Reading::Opened { owed, knew, token: Some(token) } = s.readers[r].at else { return false };
    let is_reached = s.database.has_standby && s.processes[r].timeline == s.database.timeline;
    let covers = |floor: Option<Place>| match (without, floor) {
        (Guard::R6Floor, _) => true,
        (Guard::R16Timeline, Some(floor)) => s.database.replayed >= floor.1,
        (_, Some(floor)) => floor.0 == s.database.timeline && s.database.replayed >= floor.1,
        (_, None) => false,
    };
    if !is_reached || token.in_doubt || !token.floors.into_iter().all(covers) {
        return false;
    }
    let value = s.database.replayed();
    s.readers[r].at = Reading::Loaded { owed, knew, token: Some(token), value, primary: None };
    true
}

/// The load fails: an entry that is not known to be wrong may be served instead.
pub(super) fn fail_load(s: &mut State, r: usize, without: Guard) -> Done {
    let Reading::Opened { owed, knew, .. } = s.readers[r].at else { return None };
    if s.left.failed_loads == 0 {
        return None;
    }
    s.left.failed_loads -= 1;
    let process = &s.processes[r];
    let may = |entry: &Entry| {
        process.has_lease && !s.readers[r].is_strict && is_valid_here(process, entry, without)
    };
    let served = process.entry.filter(|entry| may(entry) || without == Guard::R14NothingInvalidated);
    s.readers[r].at = Reading::Idle;
    served.map_or(Some(Ok(())), |entry| Some(finish(s, r, owed, knew, entry.value)))
}

/// The value is served, and kept where it may be; the store is on its way.
pub(super) fn keep(s: &mut State, r: usize, without: Guard) -> Done {
    let Reading::Loaded { owed, knew, token, value, primary } = s.readers[r].at else { return None };
    if let Some(token) = token {
        // Read from a primary that has been replaced: not kept.
        let is_current = token.epoch.timeline == knew && s.processes[r].timeline == knew;
        let mut generations = token.generations;
        if without == Guard::R11EarlyStamp {
            generations = std::array::from_fn(|tag| slot(s, tag, without).generation);
        }
        if !token.in_doubt && (is_current || without == Guard::R15Epoch) {
            let entry = Entry { epoch: token.epoch.generation, generations, value };
            take_in(s, r, token.incarnation, entry, &[0; TAGS]);
            s.readers[r].store = Some((entry, primary));
        }
    }
    Some(finish(s, r, owed, knew, value))
}

/// A store arrives, however late; slots that have not changed since learn how far a standby must be.
pub(super) fn store(s: &mut State, r: usize) -> bool {
    let Some((entry, primary)) = s.readers[r].store.take() else { return false };
    if s.tier.is_down {
        return true;
    }
    s.tier.entry = Some(entry);
    for (slot, generation) in s.tier.slots.iter_mut().flatten().zip(entry.generations) {
        let is_news = slot.floor.is_none_or(|floor| primary.is_some_and(|primary| primary.0 > floor.0));
        if slot.generation == generation && slot.doubts == 0 && is_news {
            slot.floor = primary.or(slot.floor);
        }
    }
    true
}

/// A read has its answer, which must be as new as it promises.
fn finish(s: &mut State, r: usize, owed: Both<u8>, knew: u8, value: Both<u8>) -> Result<(), String> {
    s.readers[r].at = Reading::Idle;
    let is_strict = s.readers[r].is_strict;
    if let Some(tag) = (0..TAGS).find(|tag| value[*tag] < owed[*tag]) {
        let name = if is_strict { "strict" } else { "bounded" };
        return Err(format!("a {name} read of {value:?} was owed {owed:?} of tag {tag}"));
    }
    if knew == s.database.timeline && value.iter().any(|version| s.database.is_lost(*version)) {
        return Err(format!(
            "a read of {value:?} that knew of the failover was answered with what it has lost"
        ));
    }
    if is_strict && !s.is_unmarked {
        // A standby may show a commit before the primary does, as it may to PostgreSQL's own readers.
        let shown = s.database.shown();
        let kept = s.database.newest_kept(value, s.database.lost);
        s.seen = max(s.seen, std::array::from_fn(|tag| kept[tag].min(shown[tag])));
    }
    Ok(())
}

/// Everything is unknown.
pub(super) fn forget(process: &mut Process) {
    process.epoch = 0;
    process.words = [Word::Unknown; TAGS];
    process.incarnation += 1;
}

/// Nobody owes what a failover has lost to a read that is under way.
pub(super) fn forget_owed(s: &mut State) {
    let (database, lost) = (&s.database, s.database.lost);
    for reader in &mut s.readers {
        match &mut reader.at {
            Reading::Began { owed, .. } | Reading::Opened { owed, .. } | Reading::Loaded { owed, .. } => {
                *owed = database.newest_kept(*owed, lost);
            }
            Reading::Idle => {}
        }
    }
}
