//! Measures the claims of the area `seeds`.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod fill;
mod schemas;
mod speed;
mod subsets;

use std::process::ExitCode;

use db_testkit::claims::{Claim, run};

const CLAIMS: &[Claim] = &[
    Claim {
        id: "seeds-5",
        sentence: "A schema that nobody described is filled to its last table: the reference schema and three that are made \
                   of what is hard, with 20 numbers each (nightly 200), four of 47 to 52 tables by an author who had not seen \
                   the generator, and those that DB_SEEDS_SCHEMAS names, with 5 (nightly 50); the same number makes the same \
                   bytes.",
        target: "0 empty tables, 0 different bytes",
        fails_without: "crates/db-seeds/src/generate/repair.rs: self.make(condition, true, draw);",
        measure: fill::measure,
    },
    Claim {
        id: "seeds-5b",
        sentence: "The rows of a table of three narrow columns are made and copied (1,000,000; nightly 5,000,000).",
        target: "at least 150,000 rows a second, best of three runs",
        fails_without: "crates/db-seeds/src/generate/fill.rs: let copied = stage::copy_all(",
        measure: speed::measure,
    },
    Claim {
        id: "seeds-5c",
        sentence: "The rows that hang on the table which most others refer to, of three schemas, of three by another author and \
                   of those that DB_SEEDS_SCHEMAS names, masked as proposed, load into an empty schema, and no masked value and no \
                   copy of one is in the files.",
        target: "0 violations, 0 masked values found",
        fails_without: "crates/db-seeds/src/subset.rs: kept.follow_up(&mut reached).await?;",
        measure: subsets::measure,
    },
];

fn main() -> ExitCode {
    run(CLAIMS)
}
