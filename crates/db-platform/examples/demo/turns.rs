//! Runs the load with the cache on and off in turns, and compares what the cache answers with the database.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_platform::cache::{CacheError, CacheStats};
use db_platform::replica_routing::NodeStatus;
use db_platform::{Config, Db, Error, Freshness, Result};
use db_testkit::until;

use crate::meter::Meter;
use crate::operations::{Operations, Through};
use crate::{close, reads, twin};

/// How long one side runs before it is the other's turn.
const TURN: Duration = Duration::from_secs(1);

/// How many reads fill the first tier before anything is compared: what the load reads in five minutes. A
/// service runs for days, so that nearly all that is asked for was asked for before. Here a good part of the
/// misses are still pages that nobody has read yet.
const WARM_UP: u64 = 250_000;

/// How many hits are compared with the database.
const CHECKED: u64 = 2_000;

/// What one side did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Side {
    pub(crate) reads: u64,
    pub(crate) read_time: Duration,
    pub(crate) transactions: u64,
    pub(crate) elapsed: Duration,
}

impl Side {
    /// What a read took, in seconds.
    pub(crate) fn mean(&self) -> f64 {
        self.read_time.as_secs_f64() / self.reads.max(1) as f64
    }

    /// From one operation to the next.
    fn interval(&self) -> Duration {
        self.elapsed.div_f64((self.reads + self.transactions).max(1) as f64)
    }
}

impl AddAssign for Side {
    fn add_assign(&mut self, other: Side) {
        self.reads += other.reads;
        self.read_time += other.read_time;
        self.transactions += other.transactions;
        self.elapsed += other.elapsed;
    }
}

/// Reads through the cache, by who answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answers {
    pub(crate) first_tier: u64,
    pub(crate) second_tier: u64,
    pub(crate) misses: u64,
}

impl Answers {
    fn now(db: &Db) -> Self {
        let of = |stats: CacheStats| Answers {
            first_tier: stats.first_tier_hits,
            second_tier: stats.second_tier_hits,
            misses: stats.misses.iter().map(|(_, times)| times).sum(),
        };
        db.cache_stats().map(of).unwrap_or_default()
    }

    pub(crate) fn hits(self) -> u64 {
        self.first_tier + self.second_tier
    }

    fn all(self) -> u64 {
        self.hits() + self.misses
    }

    /// From 0 to 1.
    pub(crate) fn hit_rate(self) -> f64 {
        self.hits() as f64 / self.all().max(1) as f64
    }
}

impl Sub for Answers {
    type Output = Self;

    fn sub(self, before: Answers) -> Self {
        Answers {
            first_tier: self.first_tier - before.first_tier,
            second_tier: self.second_tier - before.second_tier,
            misses: self.misses - before.misses,
        }
    }
}

/// Turns of both sides.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) on: Side,
    pub(crate) off: Side,
    /// Of each pair of turns, by how much a read was shorter with the cache, from 0 to 1.
    pub(crate) pairs: Vec<f64>,
    /// With the cache on.
    pub(crate) answers: Answers,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// From the empty first tier on.
    pub(crate) warm_up: Answers,
    /// Each worker as fast as it can: how many operations the servers manage.
    pub(crate) full_speed: Turns,
    /// The same load for both sides: half of what the servers manage without the cache.
    pub(crate) paced: Turns,
    /// Hits that were compared with the database when all was quiet.
    pub(crate) checked: u64,
    /// Those of them that differed.
    pub(crate) stale: u64,
    /// What the cache counted over all of it.
    pub(crate) stats: Option<CacheStats>,
    pub(crate) errors: BTreeMap<String, u64>,
}

/// The two sides of the comparison.
struct Sides {
    on: Arc<Operations>,
    off: Arc<Operations>,
    workers: u32,
}

/// Compares for so long; half of the time is each side's.
pub(crate) async fn compare(config: Config, workers: u32, duration: Duration) -> Result<Compared> {
    let sides = Sides::connect(config, workers).await?;
    let (on, mut compared) = (Arc::clone(&sides.on), Compared::default());
    while Answers::now(&on.db).all() < WARM_UP {
        compared.turn(&on, workers, None).await;
        eprintln!("        the cache is filled: {} of {WARM_UP} reads", Answers::now(&on.db).all());
    }
    compared.warm_up = Answers::now(&on.db);
    compared.full_speed = compared.turns(&sides, duration / 2, None).await;
    let pace = compared.full_speed.off.interval().mul_f64(2.0) * workers;
    compared.paced = compared.turns(&sides, duration / 2, Some(pace)).await;
    compared.stats = on.db.cache_stats();
    compared.check(&on).await?;
    for operations in [sides.on, sides.off] {
        close(&operations.db).await;
    }
    Ok(compared)
}

impl Sides {
    async fn connect(config: Config, workers: u32) -> Result<Self> {
        let (cache, plain) = (reads::cache(&config)?, twin::without_cache(&config));
        let on = Db::connect_with_cache(config, cache, []).await?;
        let off = Db::connect(plain).await?;
        until("every server answers", async || {
            [&on, &off].into_iter().all(|db| db.topology().nodes.iter().all(NodeStatus::is_up))
        })
        .await;
        until("the cache trusts its second tier", async || {
            on.cache_stats().is_some_and(|stats| stats.feed_lag.is_some() && !stats.breaker_open)
        })
        .await;
        let on = Arc::new(Operations::prepare(on, Through::Cache).await?);
        let off = Arc::new(Operations::prepare(off, Through::Database).await?);
        Ok(Sides { on, off, workers })
    }
}

impl Compared {
    async fn turns(&mut self, sides: &Sides, duration: Duration, pace: Option<Duration>) -> Turns {
        let (mut turns, before, started) = (Turns::default(), Answers::now(&sides.on.db), Instant::now());
        while started.elapsed() < duration {
            let (mut with, mut without) = (Side::default(), Side::default());
            // Who comes second finds warmer servers: they take turns.
            let mut pair = [(&sides.on, &mut with), (&sides.off, &mut without)];
            pair.rotate_left(turns.pairs.len() % 2);
            for (operations, side) in pair {
                *side = self.turn(operations, sides.workers, pace).await;
            }
            turns.pairs.push(1.0 - with.mean() / without.mean());
            turns.on += with;
            turns.off += without;
            turns.answers = Answers::now(&sides.on.db) - before;
            eprintln!(
                "{:>4} s  {:>9.3} ms a read with the cache, {:>9.3} ms without  {:>5.1} % hits",
                started.elapsed().as_secs(),
                1e3 * with.mean(),
                1e3 * without.mean(),
                100.0 * turns.answers.hit_rate(),
            );
        }
        turns
    }

    async fn turn(&mut self, operations: &Arc<Operations>, workers: u32, pace: Option<Duration>) -> Side {
        let (meter, started) = (Arc::new(Meter::default()), Instant::now());
        operations.run(workers, TURN, pace, &meter).await;
        let (seen, elapsed) = (meter.read(), started.elapsed());
        for (text, count) in seen.errors {
            *self.errors.entry(text).or_default() += count;
        }
        let (reads, transactions) = (seen.reads.len(), seen.transactions.len());
        Side { reads, read_time: seen.read_time, transactions, elapsed }
    }

    /// Compares what the cache answers with the database, now that nobody writes.
    async fn check(&mut self, on: &Operations) -> Result<()> {
        while self.checked < CHECKED {
            let Some(read) = on.draw() else { continue };
            let before = Answers::now(&on.db);
            let cached = read.clone().through_cache(&on.db).await.map_err(why)?;
            if (Answers::now(&on.db) - before).hits() == 0 {
                continue;
            }
            let page = read.clone().past_cache(&on.db, Freshness::Primary).await?;
            self.checked += 1;
            if cached.as_deref() != Some(&page) {
                self.stale += 1;
                eprintln!("        stale: a page of {}", read.query.pages.name());
            }
        }
        Ok(())
    }
}

fn why(error: CacheError<Error>) -> Error {
    Error::Client(Box::new(error))
}
