//! Measures the claims of the area `maintenance`.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

#[path = "../tests/it/hostile/attacks.rs"]
mod attacks;
mod compaction;
mod conversion;
#[path = "../tests/it/database.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod database;
mod hostile;
mod load;
mod premaking;

use std::process::ExitCode;

use db_testkit::claims::{Claim, run};

const CLAIMS: &[Claim] = &[
    Claim {
        id: "maintenance-1",
        sentence: "Partitions have neither gap nor overlap over ten simulated years with changing time \
            zones, clock jumps and \
                   missed runs, on three kinds of key (nightly five); 100 sets of 200 partitions with \
                   nothing to do take at \
                   most 10 s; and while retention works, no probe takes longer than 50 ms.",
        target: "0 gaps, 0 overlaps; at most 10 s; worst probe at most 50 ms, best of three runs",
        fails_without: "crates/db-maintenance/src/partitions/cover.rs: Some(Edge::At(next)) if *next <= end",
        measure: premaking::measure,
    },
    Claim {
        id: "maintenance-2",
        sentence: "A table of 2 million rows (nightly 10) becomes a partitioned one under four writers, \
            while the program that \
                   converts it is killed with SIGKILL again and again.",
        target: "each exclusive step at most 50 ms, 0 errors, no acknowledged row lost or doubled",
        fails_without: "crates/db-maintenance/src/partitions/convert/steps.rs: facts.index == Some(false)",
        measure: conversion::measure,
    },
    Claim {
        id: "maintenance-4",
        sentence: "A table bloated three times over (200,000 live rows; nightly a million) is compacted \
        under \
            four clients \
                   on PostgreSQL 15 and 18, and 19 where PATH names it, and killed with SIGKILL four times \
                   meanwhile.",
        target: "at most 1.15 times its live size, no statement longer than 100 ms, best of two runs; 0 rows \
            lost or doubled",
        fails_without: "crates/db-maintenance/src/compact/run.rs: stay = Some(places);",
        measure: compaction::measure,
    },
    Claim {
        id: "maintenance-7",
        sentence: "What another role owns cannot make the maintainer run its SQL or own its objects: one \
            attack for each of \
                   pg_partman's seven classes of CVEs.",
        target: "0 of 7 attacks succeed",
        fails_without: "crates/db-maintenance/src/session.rs: SET search_path = pg_catalog",
        measure: hostile::measure,
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(conversion::CHILD) => conversion::child(&arguments.next().unwrap()),
        Some(compaction::CHILD) => compaction::child(&arguments.next().unwrap()),
        _ => run(CLAIMS),
    }
}

/// Runs it to its end.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}
