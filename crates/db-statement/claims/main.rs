//! Measures what the crate claims of statements: no panic, the right fingerprints, the time for one.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod corpus;
mod random_texts;
#[path = "../tests/corpus/read.rs"]
mod read;
mod time;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: [Claim; 3] = [
    Claim {
        id: "statement-1",
        sentence: "Random bytes, random tokens and mutated real statements are normalised, summarised and searched for \
                   tables without a panic (100,000 texts; nightly a million).",
        target: "0 panics, 0 fingerprints that are not those of the normal form",
        fails_without: "crates/db-statement/src/table.rs: end -= 1;",
        measure: random_texts::measure,
    },
    Claim {
        id: "statement-2",
        sentence: "Statements that differ in constants, list lengths, white space and comments have one fingerprint, and \
                   statements that differ in meaning have two.",
        target: "0 mismatches in at least 60 equal and 200 different pairs",
        fails_without: "crates/db-statement/src/atoms.rs: Kind::Integer if self.is_position() => Sort::Kept",
        measure: corpus::measure,
    },
    Claim {
        id: "statement-3",
        sentence: "The fingerprint of a statement of 200 characters takes at most a microsecond.",
        target: "at most 1,000 ns, best of three runs",
        fails_without: "crates/db-statement/src/keyword.rs: contains(&DISTINCT, name)",
        measure: time::measure,
    },
];

fn main() -> ExitCode {
    db_testkit::claims::run(&CLAIMS)
}
