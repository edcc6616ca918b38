//! Measures what the retry layer claims.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod amplification;

use std::process::ExitCode;

use db_testkit::claims::Claim;

const CLAIMS: [Claim; 1] = [Claim {
    id: "pool-9",
    sentence: "When every call fails, retries cost the server at most a tenth of the load; when one in a hundred \
               fails, callers hardly notice.",
    target: "at most 1.1 attempts a call, at least 99.9 % of calls succeed, one million calls each",
    fails_without: "crates/db-retry/src/budget.rs: tokens.checked_sub(TOKEN)",
    measure: amplification::measure,
}];

fn main() -> ExitCode {
    db_testkit::claims::run(&CLAIMS)
}
