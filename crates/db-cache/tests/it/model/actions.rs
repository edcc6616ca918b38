//! What can happen next, one atomic step at a time, and which promises each step must keep.

use super::reading;
use super::state::{Epoch, State, TAGS, Tier, Word, Writing};
use super::writing::{self, bump, fresh, take, unlock};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Lock(usize),
    Mark(usize),
    LoseMark(usize),
    Log(usize),
    RollBack(usize),
    Show,
    LoseOutcome(usize),
    Bump(usize),
    LoseBump(usize),
    AnswerUntold(usize),
    Tell(usize),
    EndDoubt(usize),
    Relay,
    Replay,
    FailOver,
    LearnHistory(usize),
    Replicate,
    TierFailOver,
    Flush,
    Evict(usize),
    TierDown,
    TierUp,
    Crash(usize),
    Feed(usize),
    EndLease(usize),
    EndQuarantine(usize),
    Begin(usize),
    Look(usize),
    LoadOnPrimary(usize),
    LoadOnStandby(usize),
    FailLoad(usize),
    Keep(usize),
    Store(usize),
}

/// A guard that is left out, named for the race that it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    None,
    R1Stamps,
    R2BumpAfterCommit,
    R3RollbackKeeps,
    R4Mark,
    R5UnknownStaysInDoubt,
    R6Floor,
    R7Lease,
    R8FirstTierChecked,
    R9Doubt,
    R10TierClock,
    R11EarlyStamp,
    R12Run,
    R13SharedSlots,
    R14NothingInvalidated,
    R15Epoch,
    R16Timeline,
    FreshRecords,
    AnswerTold,
    Quarantine,
    Fence,
}

/// All that can happen next: where it leads, or which promise it breaks.
pub(super) fn next(state: &State, without: Guard) -> Vec<(Action, Result<State, String>)> {
    let mut all = Vec::new();
    let mut add = |action, step: &dyn Fn(&mut State) -> Option<Result<(), String>>| {
        let mut reached = state.clone();
        if let Some(done) = step(&mut reached) {
            let checked = done.and_then(|()| super::settled::check(&reached, without));
            all.push((action, checked.map(|()| reached.without_what_is_unused())));
        }
    };
    let fine = |done: bool| done.then_some(Ok(()));
    for w in 0..state.writers.len() {
        add(Action::Lock(w), &|s| fine(writing::lock(s, w)));
        add(Action::Mark(w), &|s| fine(writing::mark(s, w, without)));
        add(Action::LoseMark(w), &|s| fine(writing::lose_mark(s, w)));
        add(Action::Log(w), &|s| fine(writing::log(s, w, without)));
        add(Action::RollBack(w), &|s| fine(writing::roll_back(s, w, without)));
        add(Action::LoseOutcome(w), &|s| fine(writing::lose_outcome(s, w, without)));
        add(Action::Bump(w), &|s| fine(writing::bump_own(s, w, without)));
        add(Action::LoseBump(w), &|s| fine(writing::lose_bump(s, w)));
        add(Action::AnswerUntold(w), &|s| fine(writing::answer_untold(s, w, without)));
        add(Action::Tell(w), &|s| fine(writing::tell(s, w)));
        add(Action::EndDoubt(w), &|s| fine(writing::end_doubt(s, w, without)));
        add(Action::Crash(w), &|s| fine(crash(s, w)));
        add(Action::LearnHistory(w), &|s| fine(learn_history(s, w, without)));
        add(Action::Feed(w), &|s| fine(feed(s, w, without)));
        add(Action::EndLease(w), &|s| fine(end_lease(s, w)));
        add(Action::EndQuarantine(w), &|s| fine(end_quarantine(s, w)));
    }
    add(Action::Show, &|s| fine(writing::show(s)));
    add(Action::Relay, &|s| fine(relay(s)));
    add(Action::Replay, &|s| fine(replay(s)));
    add(Action::FailOver, &|s| fine(fail_over(s)));
    add(Action::Replicate, &|s| fine(replicate(s)));
    add(Action::TierFailOver, &|s| fine(tier_fail_over(s)));
    add(Action::Flush, &|s| fine(flush(s)));
    add(Action::TierDown, &|s| fine(tier_down(s)));
    add(Action::TierUp, &|s| fine(tier_up(s, without)));
    for tag in 0..TAGS {
        add(Action::Evict(tag), &|s| fine(evict(s, tag)));
    }
    for r in 0..state.readers.len() {
        add(Action::Begin(r), &|s| reading::begin(s, r, without));
        add(Action::Look(r), &|s| reading::look(s, r, without));
        add(Action::LoadOnPrimary(r), &|s| fine(reading::load_on_primary(s, r)));
        add(Action::LoadOnStandby(r), &|s| fine(reading::load_on_standby(s, r, without)));
        add(Action::FailLoad(r), &|s| reading::fail_load(s, r, without));
        add(Action::Keep(r), &|s| reading::keep(s, r, without));
        add(Action::Store(r), &|s| fine(reading::store(s, r)));
    }
    all
}

/// The process ends, and another one begins in its place.
fn crash(s: &mut State, w: usize) -> bool {
    if !take(&mut s.left.crashes) {
        return false;
    }
    if !matches!(s.writers[w].at, Writing::Never | Writing::Idle | Writing::Over) {
        if matches!(s.writers[w].at, Writing::Locked | Writing::Marked) {
            unlock(s, w);
        }
        s.writers[w].at = Writing::Over;
    }
    let timeline = s.database.timeline;
    let process = &mut s.processes[w];
    *process = super::state::Process {
        incarnation: process.incarnation + 1,
        in_quarantine: process.in_quarantine,
        owed: s.acknowledged,
        ..super::state::Process::new(timeline)
    };
    let reader = &mut s.readers[w];
    reader.at = super::state::Reading::Idle;
    reader.store = None;
    true
}

/// The relay bumps the next commit that shows; on a new timeline the whole cache gets an epoch first.
pub(super) fn relay(s: &mut State) -> bool {
    if !s.relay.runs || s.tier.is_down {
        return false;
    }
    if s.relay.timeline != s.database.timeline {
        let epoch = s.tier.epoch.map_or(0, |epoch| epoch.timeline).max(s.database.timeline);
        set_epoch(s, epoch, Guard::None);
        (s.relay.timeline, s.relay.done) = (s.database.timeline, 0);
        return true;
    }
    let Some(commit) = s.database.log.get(usize::from(s.relay.done)).copied() else { return false };
    if !commit.shows {
        return false;
    }
    s.relay.done += 1;
    let place = (s.database.timeline, s.relay.done);
    bump(s, usize::from(commit.writer), Some(place), Guard::None);
    true
}

fn replay(s: &mut State) -> bool {
    let is_behind = usize::from(s.database.replayed) < s.database.log.len();
    s.database.replayed += u8::from(is_behind && s.database.has_standby);
    is_behind && s.database.has_standby
}

/// The standby takes over: what it has not replayed is lost, and the new timeline counts on from there.
fn fail_over(s: &mut State) -> bool {
    if !s.database.has_standby || !take(&mut s.left.failovers) {
        return false;
    }
    let database = &mut s.database;
    for commit in database.log.split_off(usize::from(database.replayed)) {
        let lost = commit.versions.iter().filter(|version| **version > 0);
        lost.for_each(|version| database.lost |= 1 << version);
    }
    database.timeline += 1;
    database.log.iter_mut().for_each(|commit| commit.shows = true);
    database.locks = [None; TAGS];
    let lost = database.lost;
    for owed in [&mut s.acknowledged, &mut s.seen, &mut s.fenced]
        .into_iter()
        .chain(s.processes.iter_mut().map(|process| &mut process.owed))
    {
        let kept = database.newest_kept(*owed, lost);
        *owed = kept;
    }
    for writer in &mut s.writers {
        match writer.at {
            Writing::Locked | Writing::Marked => writer.at = Writing::Over,
            Writing::Logged => writer.at = Writing::Unknown,
            _ => {}
        }
    }
    reading::forget_owed(s);
    true
}

/// A process hears of the new primary, before its first read or write there: what it had goes, and the epoch.
pub(super) fn learn_history(s: &mut State, p: usize, without: Guard) -> bool {
    let timeline = s.database.timeline;
    if s.processes[p].timeline == timeline {
        return false;
    }
    s.processes[p].timeline = timeline;
    if without != Guard::R15Epoch {
        reading::forget(&mut s.processes[p]);
        if !s.tier.is_down && s.tier.epoch.is_none_or(|epoch| epoch.timeline < timeline) {
            set_epoch(s, timeline, without);
        }
    }
    true
}

pub(super) fn set_epoch(s: &mut State, timeline: u8, without: Guard) {
    let generation = fresh(s);
    if without != Guard::R16Timeline {
        // Floors from before it are void.
        s.tier.slots.iter_mut().flatten().for_each(|slot| slot.floor = None);
    }
    s.tier.epoch = Some(Epoch { generation, timeline, run: s.tier.run });
    s.processes.iter_mut().for_each(|process| process.epoch_pending = true);
}

fn replicate(s: &mut State) -> bool {
    let is_news = s.left.tier_failovers > 0 && s.replica.as_ref() != Some(&s.tier) && !s.tier.is_down;
    if is_news {
        s.replica = Some(s.tier.clone());
    }
    is_news
}

/// Another server takes over: what was written since it was told is lost.
fn tier_fail_over(s: &mut State) -> bool {
    let Some(replica) = s.replica.take() else { return false };
    if !take(&mut s.left.tier_failovers) {
        return false;
    }
    s.tier = Tier { run: s.tier.run + 1, is_down: s.tier.is_down, ..replica };
    true
}

fn flush(s: &mut State) -> bool {
    if s.tier.is_down || !take(&mut s.left.flushes) {
        return false;
    }
    s.tier = Tier { feed: s.tier.feed + 1, epoch: None, slots: [None; TAGS], entry: None, ..s.tier };
    true
}

fn evict(s: &mut State, tag: usize) -> bool {
    if s.tier.slots[tag].is_none() || !take(&mut s.left.evictions) {
        return false;
    }
    s.tier.slots[tag] = None;
    true
}

fn tier_down(s: &mut State) -> bool {
    let goes = !s.tier.is_down && take(&mut s.left.outages);
    s.tier.is_down |= goes;
    goes
}

/// It comes back, as it was or as another run: whoever has missed it for long waits before it is trusted.
fn tier_up(s: &mut State, without: Guard) -> bool {
    if !s.tier.is_down {
        return false;
    }
    s.tier.is_down = false;
    if without == Guard::Quarantine {
        s.processes.iter_mut().for_each(|process| process.in_quarantine = false);
    }
    true
}

/// By then every process that lives has told what it changed, and a relay has caught up.
pub(super) fn end_quarantine(s: &mut State, p: usize) -> bool {
    let process = &s.processes[p];
    let is_told = s.writers.iter().all(|writer| writer.at != Writing::Untold);
    let is_relayed = !s.relay.runs
        || (s.relay.timeline == s.database.timeline && usize::from(s.relay.done) == s.database.log.len());
    let ends = process.in_quarantine && !s.tier.is_down && is_told && is_relayed;
    if ends {
        s.processes[p].in_quarantine = false;
    }
    ends
}

/// A process reads the feed: all that has changed since, or that something may be missing.
pub(super) fn feed(s: &mut State, p: usize, without: Guard) -> bool {
    if s.tier.is_down || s.processes[p].in_quarantine || !s.uses_first_tiers {
        return false;
    }
    let place = Some((s.tier.run, s.tier.feed));
    let process = &mut s.processes[p];
    if process.cursor != place {
        reading::forget(process);
        (process.cursor, process.has_lease) = (place, false);
        (process.pending, process.epoch_pending) = ([false; TAGS], true);
    } else {
        for tag in (0..TAGS).filter(|tag| process.pending[*tag]) {
            process.words[tag] = match s.tier.slots[tag] {
                Some(slot) if slot.doubts != 0 => Word::Doubt,
                Some(slot) => Word::Generation(slot.generation),
                None => process.words[tag],
            };
        }
        (process.pending, process.has_lease, process.owed) = ([false; TAGS], true, s.acknowledged);
    }
    if std::mem::take(&mut process.epoch_pending) {
        let is_trusted = |epoch: &Epoch| {
            (epoch.run == s.tier.run || without == Guard::R12Run)
                && (epoch.timeline == process.timeline || without == Guard::R15Epoch)
        };
        process.epoch = s.tier.epoch.filter(is_trusted).map_or(0, |epoch| epoch.generation);
    }
    true
}

/// No word from the feed for so long that the process trusts its first tier no longer; or the second tier, in
/// the end.
fn end_lease(s: &mut State, p: usize) -> bool {
    let process = &mut s.processes[p];
    let is_news = process.has_lease || (s.tier.is_down && !process.in_quarantine);
    process.in_quarantine |= s.tier.is_down;
    (process.has_lease, process.owed) = (false, s.acknowledged);
    is_news
}
