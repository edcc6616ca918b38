//! What a crate claims of itself, and the program that measures it.
//!
//! A crate has a bench target `claims` whose `main` is a call of [`run`]; `cargo xtask prove` starts it as
//! `claims list`, or `claims run ID … [--nightly]`, and reads one JSON object a line.
#![expect(clippy::print_stdout, reason = "figures go to standard output, one JSON object a line")]
#![expect(
    clippy::print_stderr,
    reason = "it is a program: what is wrong with its arguments goes to standard error"
)]

use std::any::Any;
use std::panic::catch_unwind;
use std::process::ExitCode;

use serde_json::{Value, json};

/// One claim: what it says, what it asks for, and how it is measured.
#[derive(Debug)]
pub struct Claim {
    /// Its name, such as `pool-3`.
    pub id: &'static str,
    /// What it says, in the user's words.
    pub sentence: &'static str,
    /// What the figure must be.
    pub target: &'static str,
    /// The line of the source without which it does not hold: the file, a colon, and words of the line. Have
    /// seen it fail. `cargo xtask tidy` finds out whether the line is still there.
    pub fails_without: &'static str,
    /// Measures it. What cannot be measured panics, and the claim does not hold for that reason.
    pub measure: fn(Size) -> Figure,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Enough to see a regression, in minutes.
    Ci,
    /// All that the claim says.
    Nightly,
}

/// What was measured.
#[derive(Debug)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// What it counts.
    pub unit: &'static str,
    /// Whether the claim holds.
    pub holds: bool,
    /// Whatever else was seen.
    pub detail: Value,
}

/// Lists or measures `claims` as the program's arguments say.
pub fn run(claims: &[Claim]) -> ExitCode {
    // `cargo bench` adds --bench for the standard harness.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let size =
        if arguments.iter().any(|argument| argument == "--nightly") { Size::Nightly } else { Size::Ci };
    match words.split_first() {
        Some((&"list", _)) => {
            for Claim { id, sentence, target, fails_without, .. } in claims {
                let listed = json!({
                    "claim": id, "sentence": sentence, "target": target, "fails_without": fails_without,
                });
                println!("{listed}");
            }
            ExitCode::SUCCESS
        }
        Some((&"run", ids)) => measure(claims.iter().filter(|claim| ids.contains(&claim.id)), size),
        _ => {
            eprintln!("usage: claims list | claims run ID … [--nightly]");
            ExitCode::from(2)
        }
    }
}

fn measure<'a>(claims: impl Iterator<Item = &'a Claim>, size: Size) -> ExitCode {
    let mut all_hold = true;
    for claim in claims {
        let measured = catch_unwind(|| (claim.measure)(size));
        let figure = measured.unwrap_or_else(|panic| Figure::not_measured(&words(panic.as_ref())));
        all_hold &= figure.holds;
        let printed = json!({
            "claim": claim.id,
            "sentence": claim.sentence,
            "figure": figure.value,
            "unit": figure.unit,
            "target": claim.target,
            "holds": figure.holds,
            "size": if size == Size::Nightly { "nightly" } else { "ci" },
            "load": load(),
            "detail": figure.detail,
        });
        println!("{printed}");
    }
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Figure {
    /// Of a claim that could not be measured.
    fn not_measured(reason: &str) -> Self {
        let detail = json!({ "not_measured": reason });
        Figure { value: 0.0, unit: "not measured", holds: false, detail }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// The machine's load over the last minute; 0 where the system does not say.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_panics_does_not_hold_and_says_why() {
        let fails = |_| panic!("not within {}", "60s");
        let panics = Claim { id: "x-1", sentence: "", target: "", fails_without: "", measure: fails };
        assert_eq!(measure([&panics].into_iter(), Size::Ci), ExitCode::FAILURE);
        let panic = catch_unwind(|| (panics.measure)(Size::Ci)).err();
        let figure = Figure::not_measured(&words(panic.unwrap_or_else(|| Box::new(())).as_ref()));
        assert!(!figure.holds && figure.detail["not_measured"] == "not within 60s", "{figure:?}");
    }
}
