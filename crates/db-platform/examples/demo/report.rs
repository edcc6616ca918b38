//! What the load did, for a person and for a program.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use db_platform::core::Role;
use db_platform::pool::{Status, Timings};
use db_platform::{Db, RetryCounts};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::meter::Seen;

/// What the load did.
pub(crate) struct Report {
    errors: u64,
    pg_version: Option<String>,
    seconds: f64,
    reads: Latency,
    transactions: Latency,
    all: Latency,
    reads_by_node: BTreeMap<String, u64>,
    standbys: Vec<String>,
    retries: RetryCounts,
    pools: Vec<Status>,
    error_texts: BTreeMap<String, u64>,
}

struct Latency {
    count: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Latency { count: histogram.len(), p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) }
    }

    fn to_json(&self) -> Value {
        json!({ "count": self.count, "p50_ms": self.p50_ms, "p95_ms": self.p95_ms, "p99_ms": self.p99_ms })
    }
}

impl Report {
    pub(crate) fn new(
        seen: &Seen,
        elapsed: Duration,
        db: &Db,
        reads_by_node: BTreeMap<String, u64>,
        pg_version: Option<String>,
    ) -> Self {
        Report {
            errors: seen.error_count(),
            pg_version,
            seconds: elapsed.as_secs_f64(),
            reads: Latency::of(&seen.reads),
            transactions: Latency::of(&seen.transactions),
            all: Latency::of(&seen.all()),
            reads_by_node,
            standbys: standbys(db),
            retries: db.retries(),
            pools: db.pools(),
            error_texts: seen.errors.clone(),
        }
    }

    /// Whether the whole load ran, and no error reached a caller.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors == 0 && self.reads.count > 0 && self.transactions.count > 0
    }

    fn per_second(&self, count: u64) -> f64 {
        (count as f64 / self.seconds * 10.0).round() / 10.0
    }

    pub(crate) fn to_json(&self) -> String {
        let retries: BTreeMap<&str, u64> =
            self.retries.iter().map(|(class, count)| (class.as_str(), count)).collect();
        let pools: Vec<Value> = self
            .pools
            .iter()
            .map(|pool| {
                json!({
                    "node": pool.endpoint.to_string(),
                    "open": pool.open,
                    "max": pool.max,
                    "acquires": pool.acquires,
                    "releases": pool.releases(),
                    "wait_ms": timings(&pool.wait_times),
                    "hold_ms": timings(&pool.hold_times),
                    "create_ms": timings(&pool.create_times),
                    "timeouts": pool.timeouts,
                    "creates": pool.creates(),
                    "destroys": pool.destroys,
                    "connect_errors": pool.connect_errors,
                    "salvages": pool.salvages,
                    "abandoned": pool.abandoned,
                    "leaks": pool.leaks,
                })
            })
            .collect();
        json!({
            "pg_version": self.pg_version,
            "seconds": self.seconds,
            "transactions_per_second": self.per_second(self.transactions.count),
            "reads_per_second": self.per_second(self.reads.count),
            "p50_ms": self.all.p50_ms,
            "p95_ms": self.all.p95_ms,
            "p99_ms": self.all.p99_ms,
            "reads": self.reads.to_json(),
            "transactions": self.transactions.to_json(),
            "reads_by_node": self.reads_by_node,
            "standbys": self.standbys,
            "retries": retries,
            "pools": pools,
            "errors": self.errors,
            "error_texts": self.error_texts,
        })
        .to_string()
    }
}

fn timings(timings: &Timings) -> Value {
    let (p50, p99) = (timings.quantile(0.5), timings.quantile(0.99));
    json!({ "mean": ms(timings.mean()), "p50": ms(p50), "p99": ms(p99) })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn standbys(db: &Db) -> Vec<String> {
    let nodes = db.topology().nodes.into_iter();
    nodes.filter(|node| node.role != Some(Role::Primary)).map(|node| node.endpoint.to_string()).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.pg_version.as_deref().unwrap_or("of unknown version");
        writeln!(f, "\nPostgreSQL {version}, {:.1} s of load", self.seconds)?;
        for (name, latency) in [("transactions", &self.transactions), ("reads", &self.reads)] {
            let Latency { count, p50_ms, p95_ms, p99_ms } = latency;
            let rate = self.per_second(*count);
            writeln!(
                f,
                "  {name:<13}{rate:>9.1}/s   p50 {p50_ms:>7.2} ms   p95 {p95_ms:>7.2} ms   p99 {p99_ms:>7.2} ms"
            )?;
        }
        writeln!(f, "reads per node")?;
        for (node, reads) in &self.reads_by_node {
            writeln!(f, "  {node:<22}{reads:>9}")?;
        }
        writeln!(f, "retries by class")?;
        for (class, count) in self.retries.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "  {:<22}{count:>9}", class.as_str())?;
        }
        if self.retries.total() == 0 {
            writeln!(f, "  none")?;
        }
        writeln!(f, "pools")?;
        for pool in &self.pools {
            let (node, open, max, acquires) = (pool.endpoint.to_string(), pool.open, pool.max, pool.acquires);
            let (waited, held) = (ms(pool.wait_times.quantile(0.99)), ms(pool.hold_times.quantile(0.99)));
            writeln!(
                f,
                "  {node:<22}{open:>3} of {max} open, {acquires} acquires, p99 {waited:.2} ms waited, {held:.2} ms held"
            )?;
        }
        write!(f, "errors that reached a caller: {}", self.errors)?;
        for (text, count) in &self.error_texts {
            write!(f, "\n  {count} x {text}")?;
        }
        Ok(())
    }
}
