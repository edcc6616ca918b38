//! Runs reads and transactions from many tasks until the time is up, and shows how it goes.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_platform::{Db, Result};

use crate::meter::Meter;
use crate::operations::{Operations, Through};
use crate::report::Report;

/// A load that is ready to run.
pub(crate) struct Load {
    db: Db,
    workers: u32,
    operations: Arc<Operations>,
    reads_before: BTreeMap<String, u64>,
}

impl Load {
    pub(crate) async fn prepare(db: &Db, workers: u32) -> Result<Self> {
        let operations = Arc::new(Operations::prepare(db.clone(), Through::Database).await?);
        Ok(Load { db: db.clone(), workers, operations, reads_before: reads_by_node(db) })
    }

    pub(crate) async fn run(&self, duration: Duration, pg_version: Option<String>) -> Report {
        let (meter, started) = (Arc::new(Meter::default()), Instant::now());
        tokio::select! {
            () = self.operations.run(self.workers, duration, None, &meter) => {}
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

fn reads_by_node(db: &Db) -> BTreeMap<String, u64> {
    db.topology().nodes.into_iter().map(|node| (node.endpoint.to_string(), node.reads.total())).collect()
}
