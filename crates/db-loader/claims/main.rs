//! Measures what the loader claims; the claim that needs a peer beside it is measured by db-benches.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod cancellations;
mod children;
mod memory;
mod statements;

use std::process::ExitCode;

use db_testkit::claims::{Claim, run};

const CLAIMS: [Claim; 4] = [
    Claim {
        id: "loader-1",
        sentence: "A thousand loads at once make one statement, whether one task asks or a thousand tasks do.",
        target: "1 statement a thousand loads, counted by the server; where a thousand tasks start on two threads, \
                 at most 2 in the mean",
        fails_without: "crates/db-loader/src/drain.rs: yield_now().await;",
        measure: statements::measure,
    },
    Claim {
        id: "loader-2",
        sentence: "A thousand parents with their first ten children are one statement, which reads no more than it \
                   returns.",
        target: "1 statement, and at most 1.1 times the rows it returns, counted by the server",
        fails_without: "crates/db-loader/src/lateral.rs: LIMIT db_loader_parents.count",
        measure: children::measure,
    },
    Claim {
        id: "loader-3",
        sentence: "Millions of loads leave no memory behind: found, missing, failed and cancelled ones, in scopes and \
                   without.",
        target: "the resident set grows by at most 1 MiB from the first tenth of 10,000,000 loads to the last",
        fails_without: "crates/db-loader/src/queue.rs: state.flights.remove(key);",
        measure: memory::measure,
    },
    Claim {
        id: "loader-4",
        sentence: "A caller may go at any moment: nobody else's load fails, hangs or gets another value.",
        target: "0 wrong, failed or late loads beside 10,000 random cancellations, on a real server",
        fails_without: "crates/db-loader/src/queue.rs: state.flights.remove(&key);",
        measure: cancellations::measure,
    },
];

fn main() -> ExitCode {
    run(&CLAIMS)
}
