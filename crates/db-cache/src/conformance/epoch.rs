//! The epoch: a fresh one drops everything, and histories decide when.

use super::Bench;
use crate::position::{History, Position};
use crate::second_tier::{Change, NewEpoch};

pub(super) async fn check(bench: &Bench<'_>) {
    a_fresh_epoch_is_told_and_voids_floors(bench).await;
    an_epoch_of_this_run_stays(bench).await;
    a_later_history_takes_over_and_an_earlier_one_does_not(bench).await;
}

async fn renew(bench: &Bench<'_>, when: NewEpoch) -> crate::record::EpochRecord {
    bench.tier.epoch(bench.generation(), when).await.expect("an epoch can be renewed")
}

async fn a_fresh_epoch_is_told_and_voids_floors(bench: &Bench<'_>) {
    let taught = bench.slot();
    let record = bench.open(&[taught]).await.slots[0].expect("it was opened");
    let at = Position::new(History { system: u64::MAX, timeline: 1 }, 5);
    let mut store = bench.entry(&bench.key(), b"x");
    store.learned = Some((vec![(taught, record.generation)], at));
    bench.tier.store(&store).await.expect("stored");
    let read = bench.read(&[], &[taught]).await;
    let (record, epoch) = (read.slots[0].expect("it is there"), read.epoch.expect("it is there"));
    assert!(record.floor_in(&epoch).is_covered_by(at));

    let start = bench.tier.feed(None, std::time::Duration::ZERO, None).await.expect("read").cursor;
    let fresh = renew(bench, NewEpoch::Always).await;
    assert_ne!(fresh.generation, epoch.generation);
    assert_eq!(fresh.history, epoch.history);
    let feed = bench.tier.feed(Some(start), std::time::Duration::ZERO, None).await.expect("read");
    assert_eq!(feed.changes, [Change::Epoch(fresh)]);
    let read = bench.read(&[], &[taught]).await;
    assert_eq!(read.epoch, Some(fresh));
    let record = read.slots[0].expect("it is there");
    assert!(!record.floor_in(&fresh).is_covered_by(at), "a floor from before is void");

    bench.tier.store(&store).await.expect("stored");
    let record = bench.read(&[], &[taught]).await.slots[0].expect("it is there");
    assert!(record.floor_in(&fresh).is_covered_by(at), "and is learned anew");
}

async fn an_epoch_of_this_run_stays(bench: &Bench<'_>) {
    let epoch = bench.read(&[], &[]).await.epoch;
    assert_eq!(Some(renew(bench, NewEpoch::IfOfAnotherRun).await), epoch);
}

async fn a_later_history_takes_over_and_an_earlier_one_does_not(bench: &Bench<'_>) {
    let system = bench.random.next_u64();
    let history = |timeline| History { system, timeline };
    let first = renew(bench, NewEpoch::IfHistoryIs(history(2))).await;
    assert_eq!(first.history, Some(history(2)));
    assert_eq!(renew(bench, NewEpoch::IfHistoryIs(history(2))).await, first, "it is the same");
    assert_eq!(
        renew(bench, NewEpoch::IfHistoryIs(history(1))).await,
        first,
        "an old primary changes nothing"
    );
    let second = renew(bench, NewEpoch::IfHistoryIs(history(3))).await;
    assert_eq!(second.history, Some(history(3)));
    assert_ne!(second.generation, first.generation);
    let other = History { system: system ^ 1, timeline: 1 };
    assert_eq!(renew(bench, NewEpoch::IfHistoryIs(other)).await.history, Some(other));
}
