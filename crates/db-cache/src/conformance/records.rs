//! Entries, slots, marks and bumps.

use std::time::Duration;

use super::Bench;
use crate::position::{Floor, History, Position};
use crate::record::SlotRecord;
use crate::tag::Slot;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

pub(super) async fn check(bench: &Bench<'_>) {
    an_entry_is_read_back_with_its_slots(bench).await;
    an_absent_slot_is_made_once(bench).await;
    a_doubt_lasts_until_the_last_writer_is_through(bench).await;
    an_abort_keeps_the_generation(bench).await;
    a_doubt_that_is_over_ends_with_a_fresh_generation(bench).await;
    a_floor_is_learned_only_under_its_generation(bench).await;
    an_entry_goes_when_its_time_is_over(bench).await;
}

async fn slot(bench: &Bench<'_>, slot: Slot) -> SlotRecord {
    bench.read(&[], &[slot]).await.slots[0].expect("the slot is there")
}

async fn an_entry_is_read_back_with_its_slots(bench: &Bench<'_>) {
    let (one, absent) = (bench.key(), bench.key());
    let known = bench.slot();
    bench.open(&[known]).await;
    let bytes: Vec<u8> = (0..=255).collect();
    bench.tier.store(&bench.entry(&one, &bytes)).await.expect("an entry can be stored");
    let read = bench.read(&[absent, one], &[known]).await;
    assert_eq!(read.entries, [None, Some(bytes)]);
    assert!(read.slots[0].is_some() && read.epoch.is_some());
    assert_eq!(read.epoch.map(|epoch| epoch.run), Some(read.run));
}

async fn an_absent_slot_is_made_once(bench: &Bench<'_>) {
    let known = bench.slot();
    let made = bench.open(&[known]).await;
    let again = bench.open(&[known]).await;
    assert_eq!(made.slots, again.slots, "what is there stays");
    assert_eq!(again.slots[0].map(|record| record.floor), Some(Floor::Unknown));
    assert!(made.slots[0].is_some_and(|record| record.changed <= made.tail));
}

async fn a_doubt_lasts_until_the_last_writer_is_through(bench: &Bench<'_>) {
    let touched = bench.slot();
    let (one, two) = (bench.writer(), bench.writer());
    let before = bench.open(&[touched]).await.slots[0].expect("it was opened");
    bench.tier.mark(one, &bench.fresh(&[touched]), LONG).await.expect("marked");
    bench.tier.mark(two, &bench.fresh(&[touched]), LONG).await.expect("marked");
    let marked = slot(bench, touched).await;
    assert!(marked.doubt.is_some());
    assert_eq!(marked.generation, before.generation, "a mark keeps the generation");
    assert!(marked.changed > before.changed);

    let history = History { system: u64::MAX, timeline: 1 };
    let fresh = bench.fresh(&[touched]);
    bench.tier.bump(Some(one), &fresh, Some(Position::new(history, 100))).await.expect("bumped");
    let bumped = slot(bench, touched).await;
    assert!(bumped.doubt.is_some(), "the other writer is still in doubt");
    assert_eq!(bumped.generation, fresh.0[0].1);
    assert_eq!(bumped.floor, Floor::Unknown, "what was unknown stays so");

    bench.tier.bump(Some(two), &bench.fresh(&[touched]), None).await.expect("bumped");
    assert_eq!(slot(bench, touched).await.doubt, None);
}

async fn an_abort_keeps_the_generation(bench: &Bench<'_>) {
    let touched = bench.slot();
    let writer = bench.writer();
    let before = bench.open(&[touched]).await.slots[0].expect("it was opened");
    bench.tier.mark(writer, &bench.fresh(&[touched]), LONG).await.expect("marked");
    bench.tier.abort(writer, &[touched]).await.expect("aborted");
    let after = slot(bench, touched).await;
    assert_eq!((after.generation, after.doubt), (before.generation, None));
}

async fn a_doubt_that_is_over_ends_with_a_fresh_generation(bench: &Bench<'_>) {
    let touched = bench.slot();
    let before = bench.open(&[touched]).await.slots[0].expect("it was opened");
    bench.tier.mark(bench.writer(), &bench.fresh(&[touched]), SHORT).await.expect("marked");
    let early = bench.open(&[touched]).await.slots[0].expect("it is there");
    assert!(early.doubt.is_some() && early.generation == before.generation);
    tokio::time::sleep(SHORT * 2).await;
    let read = bench.read(&[], &[touched]).await;
    let over = read.slots[0].and_then(|record| record.doubt).expect("only opening settles it");
    assert!(over <= read.now);
    let settled = bench.open(&[touched]).await.slots[0].expect("it is there");
    assert_eq!((settled.doubt, settled.floor), (None, Floor::Unknown));
    assert_ne!(settled.generation, before.generation);
}

async fn a_floor_is_learned_only_under_its_generation(bench: &Bench<'_>) {
    let taught = bench.slot();
    let history = History { system: u64::MAX, timeline: 3 };
    let at = |lsn| Position::new(history, lsn);
    let before = bench.open(&[taught]).await.slots[0].expect("it was opened");
    let mut store = bench.entry(&bench.key(), b"x");
    store.learned = Some((vec![(taught, before.generation)], at(50)));
    bench.tier.store(&store).await.expect("stored");
    assert_eq!(slot(bench, taught).await.floor, Floor::At(at(50)));

    bench.tier.bump(None, &bench.fresh(&[taught]), Some(at(60))).await.expect("bumped");
    assert_eq!(slot(bench, taught).await.floor, Floor::At(at(60)));
    bench.tier.bump(None, &bench.fresh(&[taught]), Some(at(40))).await.expect("bumped");
    assert_eq!(slot(bench, taught).await.floor, Floor::At(at(60)), "a late word lowers nothing");
    let later = Position::new(History { timeline: 4, ..history }, 10);
    bench.tier.bump(None, &bench.fresh(&[taught]), Some(later)).await.expect("bumped");
    assert_eq!(slot(bench, taught).await.floor, Floor::At(later), "a later timeline takes over");
    bench.tier.bump(None, &bench.fresh(&[taught]), Some(at(70))).await.expect("bumped");
    assert_eq!(slot(bench, taught).await.floor, Floor::Unknown, "an earlier timeline says nothing");

    bench.tier.store(&store).await.expect("stored");
    assert_eq!(slot(bench, taught).await.floor, Floor::Unknown, "a late store teaches nothing");
}

async fn an_entry_goes_when_its_time_is_over(bench: &Bench<'_>) {
    let key = bench.key();
    let mut store = bench.entry(&key, b"x");
    store.keep = SHORT;
    bench.tier.store(&store).await.expect("stored");
    assert!(bench.read(std::slice::from_ref(&key), &[]).await.entries[0].is_some());
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(bench.read(&[key], &[]).await.entries, [None]);
}
