//! Measures what the crate claims of plans: faults found, healthy plans left alone, flips told from noise.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::print_stdout, reason = "the page goes to standard output")]
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod cases;
mod flips;
mod pages;
mod tips;

use std::process::ExitCode;

use db_testkit::claims::{Claim, run};

const CLAIMS: [Claim; 3] = [
    Claim {
        id: "insight-2",
        sentence: "Of at least 40 plans that PostgreSQL 15 and 18 really make, with planted faults and healthy ones, \
                   the tips name the faults and warn of nothing in the healthy ones; a plan of 200 nodes takes at \
                   most a millisecond.",
        target: "at least 95 % of the expected codes found, 0 warnings on healthy plans, at most 1 ms",
        fails_without: "crates/db-insight/src/plan/early.rs: \"Limit\" | \"Merge Join\" => true,",
        measure: tips::measure,
    },
    Claim {
        id: "insight-4",
        sentence: "The history of plans finds statements that are run another way and got slower, and stays \
                   silent on new partitions, renamed indexes, more rows, and plans that depend on a parameter.",
        target: "20 of 20 planted flips found, 0 alarms on 20 controls",
        fails_without: "crates/db-insight/src/history.rs: if is_in_step(more_rows, more_time) {",
        measure: flips::measure,
    },
    Claim {
        id: "insight-5",
        sentence: "Every tip has a section in docs/query-optimization.md with a plan before and after that a \
                   server really made, and the page is as a server makes it now.",
        target: "all codes, and no difference but in numbers",
        fails_without: "crates/db-insight/claims/pages.rs: page += &section(&mut conn, *code, &case).await;",
        measure: pages::measure,
    },
];

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "page") {
        print!("{}", pages::sections());
        return ExitCode::SUCCESS;
    }
    run(&CLAIMS)
}
