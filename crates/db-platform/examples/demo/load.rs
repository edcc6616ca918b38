//! Runs reads and transactions from many tasks until the time is up, and shows how it goes.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_platform::{Db, Result};
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use tokio::task::JoinSet;

use crate::meter::{Meter, Operation};
use crate::queries::{LoadQuery, QUERIES};
use crate::report::Report;
use crate::samples::Samples;
use crate::writes::Write;

/// Of a hundred operations, so many are transactions.
const TRANSACTIONS_PERCENT: usize = 20;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    #[expect(dead_code, reason = "the load wants the row, not its value")]
    n: i64,
}

/// A load that is ready to run.
pub(crate) struct Load {
    db: Db,
    workers: usize,
    samples: Arc<Samples>,
    reads_before: BTreeMap<String, u64>,
}

impl Load {
    pub(crate) async fn prepare(db: &Db, workers: usize) -> Result<Self> {
        let samples = Arc::new(Samples::take(db).await?);
        for query in
            QUERIES.iter().filter(|query| query.binds.iter().any(|bind| samples.at(0, *bind).is_none()))
        {
            eprintln!("  the data has nothing for {} ({}): it is left out", query.name, query.index);
        }
        Ok(Load { db: db.clone(), workers, samples, reads_before: reads_by_node(db) })
    }

    pub(crate) async fn run(&self, duration: Duration, pg_version: Option<String>) -> Report {
        let (meter, started) = (Arc::new(Meter::default()), Instant::now());
        let mut workers = JoinSet::new();
        for _ in 0..self.workers {
            let (db, samples, meter) = (self.db.clone(), Arc::clone(&self.samples), Arc::clone(&meter));
            workers.spawn(async move {
                while started.elapsed() < duration {
                    step(&db, &samples, &meter).await;
                }
            });
        }
        let all_done = async {
            while let Some(ended) = workers.join_next().await {
                if let Err(panic) = ended {
                    meter.count_error(format!("a worker ended: {panic}"));
                }
            }
        };
        tokio::select! {
            () = all_done => {}
            () = self.show_progress(&meter, started) => {}
        }
        let elapsed = started.elapsed();
        let mut reads = reads_by_node(&self.db);
        for (node, before) in &self.reads_before {
            reads.entry(node.clone()).and_modify(|count| *count -= before);
        }
        Report::new(&meter.read(), elapsed, &self.db, reads, pg_version)
    }

    /// One line a second on standard error, over the last one where that is a terminal. Never ends.
    async fn show_progress(&self, meter: &Meter, started: Instant) {
        let terminal = std::io::stderr().is_terminal();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.tick().await;
        let (mut reads, mut transactions) = (0, 0);
        loop {
            ticks.tick().await;
            let seen = meter.read();
            let nodes = self.db.topology().nodes;
            let up = nodes.iter().filter(|node| node.is_up()).count();
            let line = format!(
                "{:>4} s  {:>6} transactions/s  {:>6} reads/s  p99 {:>7.1} ms  {up} of {} nodes up  {} errors",
                started.elapsed().as_secs(),
                seen.transactions.len() - transactions,
                seen.reads.len() - reads,
                seen.all().value_at_quantile(0.99) as f64 / 1_000.0,
                nodes.len(),
                seen.error_count(),
            );
            (reads, transactions) = (seen.reads.len(), seen.transactions.len());
            if terminal { eprint!("\r{line}") } else { eprintln!("{line}") }
        }
    }
}

async fn step(db: &Db, samples: &Samples, meter: &Meter) {
    let started = Instant::now();
    if below(100) < TRANSACTIONS_PERCENT {
        let result = Write::ALL[below(Write::ALL.len())].run(db).await;
        meter.record(Operation::Transaction, started.elapsed(), result);
    } else if let Some(result) = read(db, samples, &QUERIES[below(QUERIES.len())]).await {
        meter.record(Operation::Read, started.elapsed(), result);
    }
}

/// Runs one query with real values; nothing where the data has none for it.
async fn read(db: &Db, samples: &Samples, query: &LoadQuery) -> Option<Result<()>> {
    let place = below(usize::MAX);
    let values: Vec<&str> = query.binds.iter().map(|bind| samples.at(place, *bind)).collect::<Option<_>>()?;
    let result = db
        .read(async |conn| {
            let statement = values.iter().fold(sql_query(query.sql).into_boxed(), |statement, value| {
                statement.bind::<Text, _>(*value)
            });
            statement.get_result::<Count>(conn).await
        })
        .await;
    Some(result.map(|_| ()))
}

fn reads_by_node(db: &Db) -> BTreeMap<String, u64> {
    db.topology().nodes.into_iter().map(|node| (node.endpoint.to_string(), node.reads.total())).collect()
}

/// A random number below `limit`, good enough to pick what comes next.
pub(crate) fn below(limit: usize) -> usize {
    thread_local!(static STATE: std::cell::Cell<u64> = std::cell::Cell::new(RandomState::new().hash_one(0) | 1));
    STATE.with(|state| {
        // xorshift64: Marsaglia, 2003.
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        usize::try_from(x % limit.max(1) as u64).unwrap_or(0)
    })
}
