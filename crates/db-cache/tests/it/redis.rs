//! The second tier on a real Redis or Valkey: the suite, its faults, and what it says of them.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod faults;
mod opening;
mod records;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, FromRedisValue};
use db_cache::{
    EntryKey, EpochRecord, Fresh, Generation, NewEpoch, Random, RedisConfig, RedisTier, Run, SecondTier,
    Slot, Snapshot, Store, TierError, Writer, conformance,
};
use db_testkit::{Redis, RedisCluster, skip};

/// Longer than anything here takes, and not for ever.
const LIMIT: Duration = Duration::from_secs(20);

/// A server, and a tier on it.
struct Bench {
    redis: Redis,
    tier: Arc<RedisTier>,
    random: Random,
}

impl Bench {
    /// None where there is no Redis to be had.
    async fn start() -> Option<Bench> {
        let redis = skip::without(Redis::start().await)?;
        let tier = Arc::new(tier_at(&redis.url(), "test"));
        Some(Bench { redis, tier, random: Random::from_entropy() })
    }

    /// A client of its own.
    async fn client(&self) -> MultiplexedConnection {
        client_of(&self.redis.url()).await
    }

    async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        ask(&mut self.client().await, words).await
    }

    fn generation(&self) -> Generation {
        Generation::fresh(&self.random)
    }

    fn fresh(&self, slots: &[Slot]) -> Fresh {
        Fresh(slots.iter().map(|slot| (*slot, self.generation())).collect())
    }

    async fn open(&self, slots: &[Slot]) -> Snapshot {
        self.tier.open(&self.fresh(slots), self.generation()).await.expect("slots can be opened")
    }

    /// Makes an epoch of this run, as a cache does before it trusts anything.
    async fn settle(&self) -> EpochRecord {
        self.open(&[]).await;
        self.tier.epoch(self.generation(), NewEpoch::IfOfAnotherRun).await.expect("an epoch can be renewed")
    }

    async fn read(&self, slots: &[Slot]) -> Result<Snapshot, TierError> {
        within(self.tier.read(&[], slots)).await
    }

    /// The first answer after an outage.
    async fn read_again(&self, slots: &[Slot]) -> Snapshot {
        let started = Instant::now();
        loop {
            match self.read(slots).await {
                Ok(snapshot) => return snapshot,
                Err(error) => assert!(started.elapsed() < LIMIT, "still {error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn run(&self) -> Run {
        self.read(&[]).await.expect("it answers").run
    }

    fn writer(&self) -> Writer {
        Writer(self.random.next_u64())
    }
}

fn tier_at(url: &str, installation: &str) -> RedisTier {
    let config =
        RedisConfig { url: url.to_owned(), installation: installation.to_owned(), ..RedisConfig::default() };
    RedisTier::new(&config).expect("the URL is one")
}

async fn client_of(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("the URL is one");
    client.get_multiplexed_async_connection().await.expect("it can be reached")
}

async fn ask<T: FromRedisValue>(client: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = ::redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(word);
    });
    command.query_async(client).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Nothing hangs.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it does not hang")
}

fn slot(number: u32) -> Slot {
    Slot::new(number).expect("it is below the count")
}

fn entry(key: &EntryKey, bytes: &[u8]) -> Store {
    Store {
        key: key.clone(),
        bytes: bytes.to_vec(),
        keep: Duration::from_secs(60),
        release: None,
        learned: None,
    }
}

#[tokio::test]
async fn redis_passes_the_suite() {
    let Some(bench) = Bench::start().await else { return };
    for _ in 0..3 {
        within(conformance::check(&*bench.tier)).await;
    }
}

#[tokio::test]
async fn a_cluster_passes_the_suite_whatever_shard_the_url_names() {
    let Some(cluster) = skip::without(RedisCluster::start().await) else { return };
    for url in cluster.urls() {
        let installations: [&str; 3] = ["one", "two", "three"];
        for installation in installations {
            within(conformance::check(&tier_at(&url, installation))).await;
        }
    }
}
