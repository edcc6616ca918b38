//! `test`: all tests, on servers that are started for them.

use std::process::Command as Process;

use db_server::{Cluster, Finder, Place, Redis};
use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::counts::{Counts, Runner, Tally};
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
    let mut tally = Tally::of(if nextest { Runner::Nextest } else { Runner::Libtest });
    let mut outcome = children::watch(&mut runner, |line| tally.read(line));
    *counts += tally.counts();
    if !wishes.integration && wishes.filters.is_empty() {
        let mut doc = children::cargo(&[&["test"], OURS, &["--doc", "--no-fail-fast"]].concat());
        settings(&mut doc);
        let mut tally = Tally::of(Runner::Libtest);
        outcome = outcome.and(children::watch(&mut doc, |line| tally.read(line)));
        *counts += tally.counts();
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
