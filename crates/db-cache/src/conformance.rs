//! What every second tier must do, as a suite that runs on each of them: in memory, on Redis, on Valkey.
//!
//! It panics where a tier does something else. Keys and slots are random, so it may run on a tier that is in
//! use, but for the epoch, which it renews.
#![expect(clippy::expect_used, reason = "the suite tells by a panic what a tier does wrong")]

mod epoch;
mod feed;
mod leases;
mod records;
mod relayed;

use crate::generation::Generation;
use crate::key::EntryKey;
use crate::random::Random;
use crate::second_tier::{Fresh, Holder, Member, SecondTier, Snapshot, Store, Writer};
use crate::tag::Slot;

/// Runs the whole suite. It takes about a second, most of it waiting for leases and doubts to end.
///
/// # Panics
/// Where the tier does something else than it must.
pub async fn check(tier: &dyn SecondTier) {
    let bench = &Bench { tier, random: Random::from_entropy() };
    bench.settle().await;
    records::check(bench).await;
    leases::check(bench).await;
    feed::check(bench).await;
    epoch::check(bench).await;
    relayed::check(bench).await;
}

/// A tier under test, and names that nobody else uses.
struct Bench<'a> {
    tier: &'a dyn SecondTier,
    random: Random,
}

impl Bench<'_> {
    /// Makes an epoch of this run.
    async fn settle(&self) {
        self.open(&[]).await;
        let when = crate::second_tier::NewEpoch::IfOfAnotherRun;
        self.tier.epoch(self.generation(), when).await.expect("an epoch can be renewed");
    }

    fn generation(&self) -> Generation {
        Generation::fresh(&self.random)
    }

    fn key(&self) -> EntryKey {
        EntryKey::from_bytes(self.random.next_u64().to_le_bytes().to_vec())
    }

    fn slot(&self) -> Slot {
        let number = (self.random.next_u64() % u64::from(Slot::COUNT)) as u32;
        Slot::new(number).expect("it is below the count")
    }

    fn writer(&self) -> Writer {
        Writer(self.random.next_u64())
    }

    fn holder(&self) -> Holder {
        Holder(self.random.next_u64())
    }

    fn member(&self) -> Member {
        Member(self.random.next_u64())
    }

    fn fresh(&self, slots: &[Slot]) -> Fresh {
        Fresh(slots.iter().map(|slot| (*slot, self.generation())).collect())
    }

    async fn open(&self, slots: &[Slot]) -> Snapshot {
        self.tier.open(&self.fresh(slots), self.generation()).await.expect("slots can be opened")
    }

    async fn read(&self, keys: &[EntryKey], slots: &[Slot]) -> Snapshot {
        self.tier.read(keys, slots).await.expect("it can be read")
    }

    fn entry(&self, key: &EntryKey, bytes: &[u8]) -> Store {
        Store {
            key: key.clone(),
            bytes: bytes.to_vec(),
            keep: std::time::Duration::from_secs(60),
            release: None,
            learned: None,
        }
    }
}
