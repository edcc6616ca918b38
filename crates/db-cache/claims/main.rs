//! Measures what the cache claims, as far as it needs no server.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod damaged;
mod simulated;

use std::process::ExitCode;

use db_testkit::claims::{Claim, run};

const CLAIMS: [Claim; 2] = [
    Claim {
        id: "cache-8",
        sentence: "Damaged bytes, and bytes of another key or schema, are a counted miss: never a wrong value, never a panic.",
        target: "0 wrong values and 0 panics in a million envelopes",
        measure: damaged::measure,
    },
    Claim {
        id: "cache-9",
        sentence: "10,000 seeds of the deterministic simulation keep every promise, each replays, and each guard that is left out is noticed.",
        target: "0 promises broken in 10,000 seeds within 10 minutes; 16 of 16 mutants caught",
        measure: simulated::measure,
    },
];

fn main() -> ExitCode {
    run(&CLAIMS)
}
