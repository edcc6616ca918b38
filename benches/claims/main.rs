//! Measures those claims of the areas `cache`, `loader`, `moving` and `pool` that need a peer beside it, or
//! the whole stack above it.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.

mod cache_hit;
mod chain;
mod checkout;
mod moving;
mod overhead;
mod spike;

use std::process::ExitCode;

use db_benches::alone;
use db_testkit::claims::{Claim, run};

const CLAIMS: [Claim; 6] = [
    Claim {
        id: "cache-1",
        sentence: "A hit in the first tier with three tags, checked against generations, TTL and lease, takes a third of a raw moka hit and allocates nothing.",
        target: "at most 0.30 times moka's, 0 allocations",
        fails_without: "crates/db-cache/src/cache.rs: if let Some((entry, behind)) = self.shared.first_tier_value(key, mode) {",
        measure: cache_hit::measure,
    },
    Claim {
        id: "loader-5",
        sentence: "Where each load needs the one before, as in nested fields, a loader without a fixed delay is many times faster than async-graphql's with its defaults.",
        target: "on a chain of depth 5 at least 10 times as fast where loads answer from memory, and 5 times on a real server",
        fails_without: "crates/db-loader/src/drain.rs: self.first_is_busy.store(false, Ordering::Release);",
        measure: chain::measure,
    },
    Claim {
        id: "moving-1",
        sentence: "An HTTP service that was moved here answers every request through kill -9 of a standby, SIGSTOP of each node, kill -9 of the primary, a switchover, and a frozen primary that comes back; the same service over deadpool stands beside it.",
        target: "0 failed requests with markers, 0 acknowledged writes missing beyond what replication lost, 0 reads that miss their own write at 200 ms of lag; one run of each (10 nightly)",
        fails_without: "crates/db-platform/src/transaction.rs: let _told = self.db.tells_process(self.session.as_ref());",
        measure: moving::measure,
    },
    Claim {
        id: "pool-3",
        sentence: "When 50 callers meet 5 warm connections and opening one takes 150 ms, all are served as quickly as the warm ones can, and hardly a connection is opened.",
        target: "at most 30 ms more than the ideal 20 ms, and at most 7 connections",
        fails_without: "crates/db-pool/src/upkeep.rs: wanted.min(at_once.saturating_sub(opening))",
        measure: spike::measure,
    },
    Claim {
        id: "pool-4",
        sentence: "Getting a connection and giving it back costs little more than with bare deadpool, all metrics and leak tracking on, and everyone waits alike.",
        target: "at most 1.3 times deadpool, alone and with 64 tasks on 4; max over median wait at most 3 with 64 tasks on 4",
        fails_without: "crates/db-pool/src/returning.rs: slot.lie_idle(now);",
        measure: checkout::measure,
    },
    Claim {
        id: "pool-5",
        sentence: "The wire tap with its QueryEvents hardly costs anything, and neither does all of Db::read.",
        target: "tap under 2 % on SELECT 1 and on 200,000 rows; SELECT 1 through Db::read at most 1.075 times a diesel-async connection as bare as the pool's, at most 22,000 instructions and one allocation of 1 KB more",
        fails_without: "crates/db-pool/src/wire/session.rs: if bound.map(Arc::as_ptr) != self.bound.as_ref().map(Arc::as_ptr) {",
        measure: overhead::measure,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "alone" => alone::run(rest),
        _ => run(&CLAIMS),
    }
}
