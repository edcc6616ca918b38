//! `ci`: exactly what continuous integration runs.

use std::time::Instant;

use crate::command::{Command, Options};
use crate::counts::Counts;
use crate::failure::{Failure, Result};
use crate::{children, demo, layers, oldest, say, table, test, tidy, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "ci",
    line: "run exactly what continuous integration runs",
    help: "
cargo xtask ci

In this order, and the first failure ends it: fmt, clippy with warnings as errors, layers, tidy, docs with warnings as
errors, the oldest versions that the manifests allow, `cargo xtask test` as on a machine without any server, the
integration tests on PostgreSQL 15, and a short demonstration. Nothing is installed before the tests, which bring what they need themselves. Each step says how to run just
it again. The last lines are the steps with their times and the counts of the tests.",
    run,
};

struct Step {
    name: &'static str,
    again: &'static str,
    run: fn(&mut Counts) -> Result,
}

const STEPS: [Step; 9] = [
    Step { name: "fmt", again: "cargo fmt --all", run: |_| cargo(&["fmt", "--all", "--check"]) },
    Step {
        name: "clippy",
        again: "cargo clippy --workspace --exclude db-benches --all-targets -- -D warnings",
        run: |_| cargo(&[&["clippy"], test::OURS, &["--all-targets", "--", "-D", "warnings"]].concat()),
    },
    Step { name: "layers", again: "cargo xtask layers", run: |_| layers::check_workspace() },
    Step { name: "tidy", again: "cargo xtask tidy", run: |_| tidy::check_workspace() },
    Step {
        name: "doc",
        again: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --exclude db-benches --no-deps",
        run: |_| doc(),
    },
    Step {
        name: "oldest versions",
        again: "cargo xtask oldest --keep",
        run: |_| oldest::check(false, false),
    },
    Step {
        name: "test as a newcomer",
        again: "cargo xtask test --newcomer",
        run: |counts| add(test::test_as_newcomer(), counts),
    },
    Step {
        name: "integration on PostgreSQL 15",
        again: "cargo xtask test --pg 15 --integration",
        run: |counts| {
            let wishes = test::Wishes { pg: Some(15), integration: true, ..test::Wishes::default() };
            add(test::test(&wishes), counts)
        },
    },
    Step { name: "demo", again: "cargo xtask demo --seconds 3 --json --profile dev", run: |_| demonstrate() },
];

fn run(options: Options) -> Result {
    options.none()?;
    let begin = Instant::now();
    let mut counts = Counts::default();
    let mut rows = Vec::new();
    let mut outcome = Ok(());
    for step in &STEPS {
        say::note(&format!("\n== {}", step.name));
        let started = Instant::now();
        let done = (step.run)(&mut counts);
        let word = if done.is_ok() { "ok" } else { "FAILED" };
        rows.push(vec![step.name.to_owned(), word.to_owned(), say::seconds(started.elapsed())]);
        if let Err(failure) = done {
            let (name, again) = (step.name, step.again);
            outcome = Err(Failure::said(format!("{name}: {failure}\n  to run just this again: {again}")));
            break;
        }
    }
    rows.push(vec!["all".to_owned(), String::new(), say::seconds(begin.elapsed())]);
    say::result(&format!("\n{}\n", table::render(&["step", "", "time"], &rows)));
    say::result(&counts.to_string());
    outcome
}

fn cargo(arguments: &[&str]) -> Result {
    children::run_aside(children::cargo(arguments).current_dir(workspace::root()))
}

fn doc() -> Result {
    let mut doc = children::cargo(&[&["doc"], test::OURS, &["--no-deps", "--quiet"]].concat());
    children::run_aside(doc.env("RUSTDOCFLAGS", "-D warnings").current_dir(workspace::root()))
}

fn add((more, outcome): (Counts, Result), counts: &mut Counts) -> Result {
    *counts += more;
    outcome
}

fn demonstrate() -> Result {
    let wishes = demo::Wishes { seconds: 3, json: true, pg: None, release: false, compare_cache: false };
    demo::demonstrate(&wishes)
}
