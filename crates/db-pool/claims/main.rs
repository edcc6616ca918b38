//! Measures what the pool claims: what abandoned callers leave, what stalls cost.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod abandoned;
mod adapting;
mod cancellations;
mod extremes;
mod far;
mod leftovers;
mod stalls;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: [Claim; 6] = [
    Claim {
        id: "pool-1",
        sentence: "Callers that are dropped at any poll of begin, query, commit, savepoint, raw BEGIN, COPY or SET, and \
                   whatever they leave in a session, leave nothing that the next borrower could notice.",
        target: "0 of 20,000 cancellations and 5,000 leftovers (1,000,000 and 200,000 nightly); no cancel in vain",
        fails_without: "crates/db-pool/src/wire/session.rs: self.leftover.add(statement.leftover);",
        measure: cancellations::measure,
    },
    Claim {
        id: "pool-2",
        sentence: "An abandoned transaction frees its locks at once and keeps its connection.",
        target: "p99 below 25 ms, at least 95 % kept, best of three runs",
        fails_without: "crates/db-pool/src/returning.rs: cancel_by_key(&inner.endpoint, key, is_wanted)",
        measure: abandoned::measure,
    },
    Claim {
        id: "pool-7",
        sentence: "A server that is stopped, or accepts and says nothing, is noticed within a second, and no task is stuck \
                   beyond its own deadline.",
        target: "noticed within 1,000 ms, 0 tasks stuck",
        fails_without: "crates/db-pool/src/upkeep.rs: self.stalls.look(&pool, self.opening_since);",
        measure: stalls::measure,
    },
    Claim {
        id: "pool-10",
        sentence: "An adaptive limit reaches the best fixed size's throughput within 10 s on CPU-bound statements, hot-row \
                   lock contention and statements that sleep 20 ms, and never takes more than the server has left.",
        target: "at least 0.9 of the best fixed size on each load; three pools below max_connections, none refused",
        fails_without: "crates/db-pool/src/adaptive/room.rs: left.div_ceil(SHARE)",
        measure: adapting::measure,
    },
    Claim {
        id: "pool-12",
        sentence: "How far away a server is changes how long things take and nothing else: no healthy one is called stalled, \
                   no connection is lost, a long statement is not asked after again and again, a stop is noticed, an abandoned \
                   transaction is ended.",
        target: "at 0, 5, 50, 220 ms each way: 0 false stalls, at most 6 knocks a statement, noticed in 1 s and 6 round trips, \
                 pool-2 with 4 round trips added",
        fails_without: "crates/db-pool/src/round_trip.rs: self.get().saturating_mul(trips)",
        measure: far::measure,
    },
    Claim {
        id: "pool-13",
        sentence: "Settings at their limits and user code that panics or blocks hold nobody up for longer than the caller \
                   allows, and the error says whose fault it was.",
        target: "0 callers beyond acquire_timeout + 100 ms, at most 10 attempts a second, 0 errors without a cause",
        fails_without: "crates/db-pool/src/pool.rs: Instant::from_std(started).checked_add(timeout)",
        measure: extremes::measure,
    },
];

fn main() -> ExitCode {
    db_testkit::claims::run(&CLAIMS)
}
