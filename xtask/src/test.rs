//! `test`: all tests, on servers that are started for them.

use std::fmt;
use std::process::Command as Process;

use db_server::{Cluster, Finder, Place, Redis};
use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::{children, say, up, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "test",
    line: "run all tests, on servers that it starts itself",
    help: "
cargo xtask test [--pg 14|15|16|17|18] [--integration] [--nightly] [FILTER..]

Starts one throw-away PostgreSQL for the tests (and Redis when there is one), runs unit, integration and doc tests with
cargo-nextest where it is installed, else with cargo test, and ends with the counts. --integration runs only the
integration tests (the binaries called `it`), --nightly the long ones too. A FILTER keeps the tests whose name holds it.

    cargo xtask test pool            cargo xtask test --pg 18 --integration

Tests that need servers of their own start them; DB_TESTKIT_PG tells them the version, DB_TESTKIT_URL the shared server.",
    run,
};

/// All packages but the one that compiles other people's pools, which only measuring needs.
pub(crate) const OURS: &[&str] = &["--workspace", "--exclude", "db-benches"];

/// What the tests are called with.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) pg: Option<u16>,
    pub(crate) integration: bool,
    pub(crate) nightly: bool,
    pub(crate) redis_is_required: bool,
    pub(crate) filters: Vec<String>,
}

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

fn run(mut options: Options) -> Result {
    let mut wishes = Wishes::default();
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Long("pg") => wishes.pg = Some(options.number()?),
            Arg::Long("integration") => wishes.integration = true,
            Arg::Long("nightly") => wishes.nightly = true,
            Arg::Value(filter) => wishes.filters.push(filter.to_string_lossy().into_owned()),
            other => return Err(unexpected(&other)),
        }
    }
    let (counts, outcome) = test(&wishes);
    say::result(&counts.to_string());
    outcome
}

/// Runs the tests; the counts are there also when some failed.
pub(crate) fn test(wishes: &Wishes) -> (Counts, Result) {
    let mut counts = Counts::default();
    let outcome = run_all(wishes, &mut counts);
    (counts, outcome)
}

fn run_all(wishes: &Wishes, counts: &mut Counts) -> Result {
    let progress = |line: &str| say::note(&format!("  … {line}"));
    let place = Place::here()?;
    let install = Finder::new(place.clone()).find(wishes.pg, &progress)?;
    say::note(&format!("testing on PostgreSQL {} ({})", install.version, install.origin));
    let major = install.version.major.to_string();
    let redis = up::redis(wishes.redis_is_required, &progress)?
        .map(|programs| Redis::start(&programs))
        .transpose()?;
    let cluster = Cluster::builder(install).place(place).start_with(&progress)?;
    let url = cluster.primary().url("postgres");
    let settings = |command: &mut Process| {
        // Tests choose their own database: one of the developer's must never reach them.
        children::without_databases(command).current_dir(workspace::root());
        command.env("DB_TESTKIT_URL", &url).env("DB_TESTKIT_PG", &major);
        if let Some(redis) = &redis {
            command.env("DB_TESTKIT_REDIS_URL", redis.url());
        }
        if wishes.redis_is_required {
            command.env("DB_TESTKIT_REQUIRE_REDIS", "1");
        }
        if wishes.nightly {
            command.env("DB_TESTKIT_NIGHTLY", "1");
        }
    };

    let nextest = has_nextest();
    let mut runner = if nextest {
        children::cargo(&["nextest", "run", "--no-fail-fast"])
    } else {
        children::cargo(&["test", "--no-fail-fast"])
    };
    runner.args(OURS).args(targets(wishes.integration));
    if !nextest && !wishes.filters.is_empty() {
        runner.arg("--");
    }
    settings(runner.args(&wishes.filters));
    let mut outcome = children::watch(&mut runner, |line| read(line, counts));
    if !wishes.integration && wishes.filters.is_empty() {
        let mut doc = children::cargo(&[&["test"], OURS, &["--doc", "--no-fail-fast"]].concat());
        settings(&mut doc);
        outcome = outcome.and(children::watch(&mut doc, |line| read(line, counts)));
    }
    if outcome.is_ok() && *counts == Counts::default() {
        return Err(Failure::said("no test ran"));
    }
    outcome
}

fn targets(integration: bool) -> &'static [&'static str] {
    if integration { &["--test", "it"] } else { &["--lib", "--bins", "--tests", "--examples"] }
}

fn has_nextest() -> bool {
    let mut nextest = children::cargo(&["nextest", "--version"]);
    children::output(nextest.stderr(std::process::Stdio::null())).is_ok()
}

/// Adds what a runner's closing line tells; other lines tell nothing.
fn read(line: &str, counts: &mut Counts) {
    let line = line.trim_start();
    let closing = match line.strip_prefix("test result: ") {
        Some(rest) => rest,
        None if line.starts_with("Summary [") => line.split_once(':').map_or("", |(_, rest)| rest),
        None => return,
    };
    let words: Vec<&str> = closing.split_whitespace().collect();
    for pair in words.windows(2) {
        let Ok(count) = pair[0].trim_start_matches('(').parse::<u64>() else { continue };
        match pair[1].trim_end_matches([';', ',', ')']) {
            "passed" => counts.passed += count,
            "failed" => counts.failed += count,
            "timed" => counts.failed += count,
            "skipped" | "ignored" => counts.skipped += count,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_closing_lines_are_read() {
        let check = |line: &str, passed: u64, failed: u64, skipped: u64| {
            let mut counts = Counts::default();
            read(line, &mut counts);
            assert_eq!(counts, Counts { passed, failed, skipped }, "{line}");
        };
        check("     Summary [  21.021s] 215 tests run: 215 passed (3 slow, 1 leaky), 4 skipped", 215, 0, 4);
        check("     Summary [   0.1s] 9 tests run: 6 passed, 2 failed, 1 timed out, 0 skipped", 6, 3, 0);
        check("test result: ok. 10 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out", 10, 0, 1);
        check("test result: FAILED. 8 passed; 2 failed; 0 ignored; 0 measured", 8, 2, 0);
        check("test one_of_3_passed ... ok", 0, 0, 0);
    }
}
