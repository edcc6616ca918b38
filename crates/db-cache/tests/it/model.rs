//! A model of the protocol, searched exhaustively: every order in which steps, losses and failures can
//! happen.
//!
//! It has two processes with a first tier each, two tags, two writers, a relay, a second tier that loses
//! messages, restarts, fails over and is emptied, and a database that loses commits in a failover. Each
//! scenario bounds how often what may go wrong; each guard that is left out shows why it is there, by the
//! shortest way to a broken promise.
//!
//! It is our own search and not the crate `stateright`, which brings a web server for its explorer.

mod actions;
mod reading;
mod search;
mod settled;
mod state;
mod writing;

use actions::Guard;
use search::{Searched, all_that_end, search};
use state::{Left, State, Writing};

/// As many states as a search may have: it fails where it would go on.
const MOST: usize = 400_000;

fn left() -> Left {
    Left::default()
}

/// Two writers, of whom the second one writes both rows, and two strict readers.
fn plain() -> State {
    two_writers(left())
}

/// One writer, which writes the first row.
fn one_writer(left: Left) -> State {
    let mut state = State::new(left).without_what_is_unused();
    state.writers[1].at = Writing::Never;
    state
}

fn two_writers(left: Left) -> State {
    State::new(left).without_what_is_unused()
}

/// Readers in the default mode, with so many reads each.
fn bounded(mut state: State, reads: u8) -> State {
    state.uses_first_tiers = true;
    state.processes = State::new(left()).processes;
    for reader in &mut state.readers {
        (reader.is_strict, reader.reads_left) = (false, reads);
    }
    state
}

/// Readers with so many reads each.
fn reading(mut state: State, reads: [u8; 2]) -> State {
    state.readers[0].reads_left = reads[0];
    state.readers[1].reads_left = reads[1];
    state
}

fn relayed(mut state: State) -> State {
    state.relay.runs = true;
    state
}

fn with_standby(mut state: State) -> State {
    state.database.has_standby = true;
    state
}

/// Nothing is cached yet.
fn cold(mut state: State) -> State {
    state.tier.entry = None;
    state.processes.iter_mut().for_each(|process| process.entry = None);
    state
}

#[track_caller]
fn holds(name: &str, start: State) {
    let Searched { states, broken } = search(start, Guard::None, MOST);
    eprintln!("{name}: {states} states");
    assert!(broken.is_none(), "{name}: {broken:#?}");
}

#[track_caller]
fn is_needed(guard: Guard, start: State) {
    let Searched { states, broken } = search(start, guard, MOST);
    let (way, what) = broken.unwrap_or_else(|| panic!("nothing breaks without {guard:?} in {states} states"));
    eprintln!("without {guard:?}, after {states} states: {what}\n  {way:?}");
}

macro_rules! scenarios {
    ($($name:ident: $start:expr,)*) => { $(#[test] fn $name() { holds(stringify!($name), $start); })* };
}

macro_rules! guards {
    ($($name:ident: $guard:ident in $start:expr,)*) => { $(#[test] fn $name() { is_needed(Guard::$guard, $start); })* };
}

scenarios! {
    two_writers_and_strict_readers: plain(),
    two_writers_and_a_reader_of_the_first_tier: reading(bounded(plain(), 1), [0, 2]),
    a_cold_entry_is_loaded_while_others_write: cold(one_writer(left())),
    a_writer_dies_at_any_step: one_writer(Left { crashes: 1, ..left() }),
    a_writer_dies_and_readers_use_the_first_tier: bounded(one_writer(Left { crashes: 1, ..left() }), 1),
    outcomes_are_unknown_and_messages_lost:
        one_writer(Left { unknown_outcomes: 1, lost_messages: 1, rollbacks: 1, ..left() }),
    a_standby_lags: with_standby(plain()),
    the_tier_fails_over: relayed(one_writer(Left { tier_failovers: 1, ..left() })),
    the_tier_fails_over_and_a_standby_lags:
        with_standby(relayed(one_writer(Left { tier_failovers: 1, ..left() }))),
    the_tier_is_emptied: relayed(one_writer(Left { flushes: 1, crashes: 1, ..left() })),
    records_are_evicted: relayed(one_writer(Left { evictions: 1, crashes: 1, ..left() })),
    the_tier_is_away_while_a_writer_commits: one_writer(Left { outages: 1, lost_messages: 1, ..left() }),
    the_tier_is_away_and_a_writer_dies: relayed(one_writer(Left { outages: 1, crashes: 1, ..left() })),
    the_database_fails_over_while_one_writes: with_standby(one_writer(Left { failovers: 1, ..left() })),
    the_database_fails_over_while_two_write: reading(with_standby(two_writers(Left { failovers: 1, ..left() })), [1, 0]),
    a_fenced_transaction: bounded(fenced(), 1),
}

fn fenced() -> State {
    let mut state = one_writer(left());
    state.writers[0].is_fenced = true;
    state
}

guards! {
    r1_an_entry_is_compared_with_generations: R1Stamps in one_writer(left()),
    r2_a_bump_before_commit_is_too_early: R2BumpAfterCommit in one_writer(left()),
    r4_a_mark_bridges_a_crash: R4Mark in one_writer(Left { crashes: 1, ..left() }),
    r5_an_unknown_outcome_is_no_rollback: R5UnknownStaysInDoubt in one_writer(Left { unknown_outcomes: 1, ..left() }),
    r6_a_standby_must_have_replayed: R6Floor in with_standby(one_writer(left())),
    r7_the_first_tier_needs_a_lease: R7Lease in bounded(one_writer(left()), 1),
    r8_the_first_tier_is_compared_on_every_hit: R8FirstTierChecked in bounded(one_writer(left()), 1),
    r9_what_is_in_doubt_leads_back_in_time: R9Doubt in reading(cold(one_writer(left())), [1, 2]),
    r10_a_doubt_ends_by_the_tiers_clock: R10TierClock in one_writer(Left { crashes: 1, ..left() }),
    r11_stamps_are_taken_before_the_load: R11EarlyStamp in cold(one_writer(left())),
    r12_another_run_is_not_trusted: R12Run in relayed(one_writer(Left { tier_failovers: 1, ..left() })),
    r13_versions_of_a_program_share_slots: R13SharedSlots in plain(),
    r14_a_failed_load_resurrects_nothing: R14NothingInvalidated in bounded(one_writer(Left { failed_loads: 1, ..left() }), 1),
    r15_a_new_history_has_a_new_epoch: R15Epoch in with_standby(one_writer(Left { failovers: 1, ..left() })),
    r16_positions_of_another_history_do_not_compare: R16Timeline in
        with_standby(relayed(one_writer(Left { tier_failovers: 1, ..left() }))),
    an_evicted_record_does_not_come_back_as_it_was: FreshRecords in relayed(one_writer(Left { evictions: 1, ..left() })),
    nobody_is_answered_before_the_tier_can_know: AnswerTold in one_writer(Left { outages: 1, lost_messages: 1, ..left() }),
    a_tier_that_comes_back_is_not_trusted_at_once: Quarantine in one_writer(Left { outages: 1, ..left() }),
    a_fenced_commit_waits_for_first_tiers: Fence in bounded(fenced(), 1),
}

/// R3: a rollback costs nobody an entry.
#[test]
fn r3_a_rollback_keeps_what_is_cached() {
    let start = || one_writer(Left { rollbacks: 1, ..left() });
    assert!(all_that_end(start(), Guard::None, MOST, State::rolled_back_and_kept));
    assert!(!all_that_end(start(), Guard::R3RollbackKeeps, MOST, State::rolled_back_and_kept));
}

/// Larger bounds, for a night: `cargo nextest run -p db-cache --run-ignored all model::at_length`.
#[test]
#[ignore = "nightly: it takes minutes and some gigabytes"]
fn at_length() {
    let all = Left { crashes: 1, lost_messages: 1, unknown_outcomes: 1, rollbacks: 1, ..left() };
    for (name, start) in [
        ("a failover, two readers", with_standby(two_writers(Left { failovers: 1, ..left() }))),
        ("first tiers, two readers", bounded(plain(), 2)),
        ("two writers, crashes and losses", two_writers(all)),
        ("first tiers, crashes and losses", bounded(two_writers(all), 2)),
        (
            "tier",
            relayed(two_writers(Left { tier_failovers: 1, flushes: 1, outages: 1, crashes: 1, ..left() })),
        ),
        ("failover", relayed(with_standby(two_writers(Left { failovers: 1, crashes: 1, ..left() })))),
    ] {
        let searched = search(start, Guard::None, 250 * MOST);
        eprintln!("{name}: {} states", searched.states);
        assert!(searched.broken.is_none(), "{name}: {:#?}", searched.broken);
    }
}
