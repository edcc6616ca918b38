//! The scripts do what the records in memory do, and what they keep is bounded.

use std::collections::BTreeMap;

use db_cache::simulation::SimulatedTier;
use db_cache::{
    Change, Cursor, EntryKey, EpochRecord, Floor, Fresh, Generation, History, NewEpoch, Position, Random,
    SecondTier, Slot, Snapshot, Store, TierTime, Writer,
};

use super::{Bench, LIMIT, ask, entry, slot, within};
use std::time::Duration;

/// What a reader of the feed believes.
type Believed = BTreeMap<Slot, Option<Generation>>;

/// Few, so that they meet.
const SLOTS: u32 = 4;

#[tokio::test]
async fn the_scripts_do_what_the_records_in_memory_do() {
    let Some(bench) = Bench::start().await else { return };
    let memory = SimulatedTier::seeded(1);
    let seed = bench.random.next_u64();
    let random = Random::seeded(seed);
    let first = Fresh(Vec::new());
    let generation = Generation::fresh(&random);
    let tiers: [&dyn SecondTier; 2] = [&*bench.tier, &memory];
    let mut cursors = Vec::new();
    for tier in tiers {
        tier.open(&first, generation).await.unwrap();
        cursors.push(tier.feed(None, Duration::ZERO, None).await.unwrap().cursor);
    }
    let mut believed = [Believed::new(), Believed::new()];
    for step in 0..2_000 {
        let operation = Operation::drawn(&random);
        let mut seen = Vec::new();
        for (index, tier) in tiers.into_iter().enumerate() {
            operation.apply(tier).await;
            let slots: Vec<Slot> = (0..SLOTS).map(slot).collect();
            let snapshot = tier.read(&[], &slots).await.unwrap();
            read_on(tier, &mut cursors[index], &mut believed[index]).await;
            seen.push(comparable(&snapshot));
        }
        assert_eq!(seen[0], seen[1], "seed {seed}, step {step}, after {operation:?}");
        assert_eq!(believed[0], believed[1], "seed {seed}, step {step}, after {operation:?}");
    }
}

/// What must be the same in both: all but clocks, runs and places in the feed.
fn comparable(snapshot: &Snapshot) -> impl PartialEq + std::fmt::Debug + use<> {
    let epoch = snapshot.epoch.expect("it was opened");
    let slots: Vec<_> = snapshot
        .slots
        .iter()
        .map(|record| {
            record.map(|record| (record.generation, record.floor_in(&epoch), record.doubt.is_some()))
        })
        .collect();
    (slots, epoch.generation, epoch.history)
}

async fn read_on(tier: &dyn SecondTier, cursor: &mut Cursor, believed: &mut Believed) {
    let feed = tier.feed(Some(*cursor), Duration::ZERO, None).await.unwrap();
    assert!(!feed.lost);
    *cursor = feed.cursor;
    for change in feed.changes {
        match change {
            Change::Settled(slot, generation) => believed.insert(slot, Some(generation)),
            Change::InDoubt(slot) => believed.insert(slot, None),
            Change::Epoch(EpochRecord { .. }) => None,
        };
    }
}

#[derive(Debug)]
enum Operation {
    Open(Fresh, Generation),
    Mark(Writer, Fresh),
    Bump(Option<Writer>, Fresh, Option<Position>),
    Abort(Writer, Vec<Slot>),
    Epoch(Generation, NewEpoch),
    Learn(Position),
}

impl Operation {
    fn drawn(random: &Random) -> Self {
        let below = |limit| random.next_u64() % limit;
        let slots: Vec<Slot> = (0..SLOTS).filter(|_| below(3) == 0).map(slot).collect();
        let fresh = Fresh(slots.iter().map(|slot| (*slot, Generation::fresh(random))).collect());
        let writer = Writer(below(3));
        let history = History { system: u64::MAX - below(2), timeline: below(3) as u32 };
        let position = Position::new(history, (below(3) << 40) + below(3));
        match below(8) {
            0 => Operation::Open(fresh, Generation::fresh(random)),
            1 => Operation::Mark(writer, fresh),
            2 => Operation::Bump(Some(writer), fresh, Some(position)),
            3 => Operation::Bump((below(2) == 0).then_some(writer), fresh, None),
            4 => Operation::Abort(writer, slots),
            5 if below(4) == 0 => Operation::Epoch(Generation::fresh(random), NewEpoch::Always),
            5 => Operation::Epoch(Generation::fresh(random), NewEpoch::IfHistoryIs(history)),
            _ => Operation::Learn(position),
        }
    }

    async fn apply(&self, tier: &dyn SecondTier) {
        match self {
            Operation::Open(fresh, epoch) => {
                tier.open(fresh, *epoch).await.unwrap();
            }
            Operation::Mark(writer, fresh) => {
                tier.mark(*writer, fresh, LIMIT * 9).await.unwrap();
            }
            Operation::Bump(writer, fresh, position) => {
                tier.bump(*writer, fresh, *position).await.unwrap();
            }
            Operation::Abort(writer, slots) => {
                tier.abort(*writer, slots).await.unwrap();
            }
            Operation::Epoch(fresh, when) => {
                tier.epoch(*fresh, *when).await.unwrap();
            }
            Operation::Learn(position) => {
                let slots: Vec<Slot> = (0..SLOTS).map(slot).collect();
                let records = tier.read(&[], &slots).await.unwrap().slots;
                let known = records.into_iter().zip(slots);
                let taken = known.filter_map(|(record, slot)| Some((slot, record?.generation))).collect();
                let store = entry(&EntryKey::from_bytes(b"x".to_vec()), b"x");
                tier.store(&Store { learned: Some((taken, *position)), ..store }).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_records_of_all_slots_fit_into_eight_megabytes() {
    let Some(bench) = Bench::start().await else { return };
    let mut client = bench.client().await;
    let history = History { system: u64::MAX, timeline: 1 };
    let all: Vec<Slot> = (0..Slot::COUNT).map(slot).collect();
    for slots in all.chunks(4_096) {
        let snapshot = bench.open(slots).await;
        let taken =
            slots.iter().zip(snapshot.slots).map(|(slot, record)| (*slot, record.unwrap().generation));
        let mut store = entry(&EntryKey::from_bytes(b"x".to_vec()), b"x");
        store.learned = Some((taken.collect(), Position::new(history, u64::MAX)));
        bench.tier.store(&store).await.unwrap();
        let record = bench.read(&slots[..1]).await.unwrap().slots[0].unwrap();
        assert_eq!(record.floor, Floor::At(Position::new(history, u64::MAX)));
    }
    let bytes = async |client: &mut _, key: &str| -> u64 {
        ask(client, &["MEMORY", "USAGE", key, "SAMPLES", "0"]).await
    };
    let records = bytes(&mut client, "{db-cache:test}:records").await;
    assert!(records < 8 << 20, "the records take {records} bytes");
    bench.tier.bump(None, &bench.fresh(&all), None).await.unwrap();
    let feed = bytes(&mut client, "{db-cache:test}:feed").await;
    let length: u64 = ask(&mut client, &["XLEN", "{db-cache:test}:feed"]).await;
    let full = feed / length * 8_192;
    assert!(full < 10 << 20, "a full feed takes {full} bytes");
}

#[tokio::test]
async fn only_the_records_and_the_feed_have_no_end_of_life() {
    let Some(bench) = Bench::start().await else { return };
    within(db_cache::conformance::check(&*bench.tier)).await;
    bench.tier.relayed(TierTime(1)).await.unwrap();
    let mut client = bench.client().await;
    let mut endless = Vec::new();
    for key in ask::<Vec<String>>(&mut client, &["KEYS", "*"]).await {
        if ask::<i64>(&mut client, &["PTTL", &key]).await == -1 {
            endless.push(key);
        }
    }
    endless.sort();
    assert_eq!(endless, ["{db-cache:test}:feed", "{db-cache:test}:records"]);
}

#[tokio::test]
async fn a_reader_that_the_feed_was_cut_behind_is_told() {
    let Some(bench) = Bench::start().await else { return };
    bench.settle().await;
    let start = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    let many: Vec<Slot> = (0..Slot::COUNT).map(slot).collect();
    bench.tier.bump(None, &bench.fresh(&many[..6_000]), None).await.unwrap();
    let mut cursor = start;
    let mut changes = 0;
    loop {
        let feed = bench.tier.feed(Some(cursor), Duration::ZERO, None).await.unwrap();
        assert!(!feed.lost);
        changes += feed.changes.len();
        cursor = feed.cursor;
        if feed.changes.is_empty() {
            break;
        }
    }
    assert_eq!(changes, 6_000, "long parts come one after the other");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..20 {
        let tier = std::sync::Arc::clone(&bench.tier);
        let touched: Vec<_> = (0..450).map(|number| bench.fresh(&[slot(number * 20 + task)])).collect();
        tasks.spawn(async move {
            for fresh in &touched {
                tier.bump(None, fresh, None).await?;
            }
            Ok::<_, db_cache::TierError>(())
        });
    }
    while let Some(bumped) = tasks.join_next().await {
        bumped.unwrap().unwrap();
    }
    let length: u64 = bench.ask(&["XLEN", "{db-cache:test}:feed"]).await;
    assert!((8_192..9_000).contains(&length), "the feed is cut: {length}");
    assert!(bench.tier.feed(Some(start), LIMIT, None).await.unwrap().lost);
}
