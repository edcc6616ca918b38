//! Measures what the pool claims: what abandoned callers leave, what stalls cost.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod abandoned;
mod adapting;
mod cancellations;
mod stalls;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: [Claim; 4] = [
    Claim {
        id: "pool-1",
        sentence: "Callers that are dropped at any poll of begin, query, commit, savepoint, raw BEGIN, COPY or SET leave \
                   nothing that the next borrower could notice.",
        target: "0 of 20,000 cancellations (1,000,000 nightly)",
        measure: cancellations::measure,
    },
    Claim {
        id: "pool-2",
        sentence: "An abandoned transaction frees its locks at once and keeps its connection.",
        target: "p99 below 25 ms, at least 95 % kept, best of three runs",
        measure: abandoned::measure,
    },
    Claim {
        id: "pool-7",
        sentence: "A server that is stopped, or accepts and says nothing, is noticed within a second, and no task is stuck \
                   beyond its own deadline.",
        target: "noticed within 1,000 ms, 0 tasks stuck",
        measure: stalls::measure,
    },
    Claim {
        id: "pool-10",
        sentence: "An adaptive limit reaches the best fixed size's throughput within 10 s on CPU-bound statements, hot-row \
                   lock contention and statements that sleep 20 ms, and never takes more than the server has left.",
        target: "at least 0.9 of the best fixed size on each load; three pools below max_connections, none refused",
        measure: adapting::measure,
    },
];

fn main() -> ExitCode {
    db_testkit::claims::run(&CLAIMS)
}
