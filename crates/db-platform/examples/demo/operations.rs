//! What the load does: reads and transactions in their mix, from many tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_platform::{Db, Freshness, Result};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::meter::{Meter, Operation};
use crate::popularity::Popularity;
use crate::queries::QUERIES;
use crate::random::below;
use crate::reads::Read;
use crate::samples::Samples;
use crate::writes::Write;

/// Of a hundred operations, so many are transactions.
const TRANSACTIONS_PERCENT: usize = 20;

/// How the load reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    Database,
    Cache,
}

/// The load on one database.
pub(crate) struct Operations {
    pub(crate) db: Db,
    through: Through,
    samples: Samples,
    popularity: Popularity,
}

impl Operations {
    pub(crate) async fn prepare(db: Db, through: Through) -> Result<Self> {
        let samples = Samples::take(&db).await?;
        for query in
            QUERIES.iter().filter(|query| query.binds.iter().any(|bind| samples.at(0, *bind).is_none()))
        {
            let name = query.pages.name();
            eprintln!("  the data has nothing for {name} ({}): it is left out", query.index);
        }
        Ok(Operations { db, through, samples, popularity: Popularity::new() })
    }

    /// Runs for so long: each worker as fast as it can, or, paced, one operation in each of these intervals.
    pub(crate) async fn run(
        self: &Arc<Self>,
        workers: u32,
        duration: Duration,
        pace: Option<Duration>,
        meter: &Arc<Meter>,
    ) {
        let (mut tasks, started) = (JoinSet::new(), Instant::now());
        for worker in 0..workers {
            let (operations, meter) = (Arc::clone(self), Arc::clone(meter));
            let mut ticks = pace.map(|pace| spread(pace, worker, workers));
            tasks.spawn(async move {
                while started.elapsed() < duration {
                    if let Some(ticks) = &mut ticks {
                        ticks.tick().await;
                    }
                    operations.step(&meter).await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(panic) = ended {
                meter.count_error(format!("a worker ended: {panic}"));
            }
        }
    }

    async fn step(&self, meter: &Meter) {
        let started = Instant::now();
        if below(100) < TRANSACTIONS_PERCENT {
            let result = Write::ALL[below(Write::ALL.len())].run(&self.db).await;
            meter.record(Operation::Transaction, started.elapsed(), result);
        } else if let Some(read) = self.draw() {
            match self.through {
                Through::Database => {
                    let page = read.past_cache(&self.db, Freshness::Default).await;
                    meter.record(Operation::Read, started.elapsed(), page);
                }
                Through::Cache => {
                    let page = read.through_cache(&self.db).await;
                    meter.record(Operation::Read, started.elapsed(), page);
                }
            }
        }
    }

    /// The next read, with real values; none where the data has nothing for its query.
    pub(crate) fn draw(&self) -> Option<Read> {
        let (query, place) = (&QUERIES[below(QUERIES.len())], self.popularity.draw());
        let value = |bind| self.samples.at(place, bind).map(str::to_owned);
        let values = query.binds.iter().map(|bind| value(*bind)).collect::<Option<_>>()?;
        Some(Read { query, values })
    }
}

/// The times of one worker of so many, which do not all begin at once.
fn spread(pace: Duration, worker: u32, workers: u32) -> Interval {
    let first = tokio::time::Instant::now() + pace * worker / workers.max(1);
    let mut ticks = interval_at(first, pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
