//! `test`: all tests, on servers that are started for them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use db_server::{Cluster, Finder, PgBouncerProgram, Place, skip};
use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::counts::{Counts, Runner, Tally};
use crate::failure::{Failure, Result};
use crate::{children, newcomer, say, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "test",
    line: "run all tests, on servers that it starts itself",
    help: "
cargo xtask test [--pg 14|15|16|17|18|19] [--integration] [--nightly] [--newcomer] [FILTER..]

Starts one throw-away PostgreSQL for the tests, runs unit, integration and doc tests with cargo-nextest where it is
installed, else with cargo test, and ends with the counts. --integration runs only the integration tests (the binaries
called `it`), --nightly the long ones too. A FILTER keeps the tests whose name holds it.

    cargo xtask test pool            cargo xtask test --pg 18 --integration

Where PostgreSQL or Redis is not installed it is fetched. PgBouncer is installed with apt-get, as root on Debian, after
saying so. Tests that need what cannot be had are skipped, counted as skipped, and listed by name.

--newcomer runs `cargo xtask test` as on a machine with no servers installed; it stands alone.

Tests that need servers of their own start them; DB_TESTKIT_PG tells them the version, DB_TESTKIT_URL the shared server.",
    run,
};

/// All packages but the one that compiles other people's pools, which only measuring needs.
pub(crate) const OURS: &[&str] =
    &["--workspace", "--exclude", "db-benches", "--features", "db-cli/mcp,db-cli/top"];

/// What the tests are called with.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) pg: Option<u16>,
    pub(crate) integration: bool,
    pub(crate) nightly: bool,
    pub(crate) filters: Vec<String>,
}

fn run(mut options: Options) -> Result {
    let (mut wishes, mut as_newcomer, mut others) = (Wishes::default(), false, false);
    while let Some(arg) = options.next()? {
        others |= arg != Arg::Long("newcomer");
        match arg {
            Arg::Long("pg") => wishes.pg = Some(options.number()?),
            Arg::Long("integration") => wishes.integration = true,
            Arg::Long("nightly") => wishes.nightly = true,
            Arg::Long("newcomer") => as_newcomer = true,
            Arg::Value(filter) => wishes.filters.push(filter.to_string_lossy().into_owned()),
            other => return Err(unexpected(&other)),
        }
    }
    if as_newcomer && others {
        return Err(Failure::Usage("--newcomer stands alone".to_owned()));
    }
    let (counts, outcome) = if as_newcomer { test_as_newcomer() } else { test(&wishes) };
    say::result(&counts.to_string());
    outcome
}

/// Runs the tests; the counts are there also when some failed.
pub(crate) fn test(wishes: &Wishes) -> (Counts, Result) {
    let mut counts = Counts::default();
    let outcome = run_all(wishes, &mut counts);
    (counts, outcome)
}

/// Runs the command that README.md shows, in the environment of somebody who has no servers.
pub(crate) fn test_as_newcomer() -> (Counts, Result) {
    let mut counts = Counts::default();
    let mut cargo = children::cargo(&["xtask", "test"]);
    let outcome = newcomer::environment(cargo.current_dir(workspace::root()))
        .and_then(|command| children::watch(command, |line| counts = Counts::parse(line).unwrap_or(counts)));
    (counts, outcome)
}

fn run_all(wishes: &Wishes, counts: &mut Counts) -> Result {
    let progress = |line: &str| say::note(&format!("  … {line}"));
    let place = Place::here()?;
    let install = Finder::new(place.clone()).find(wishes.pg, &progress)?;
    say::note(&format!("testing on PostgreSQL {} ({})", install.version, install.origin));
    let major = install.version.major.to_string();
    let without = not_to_be_had(&progress)?;
    let skips = Skips::new(&place)?;
    let cluster = Cluster::builder(install).place(place).start_with(&progress)?;
    let url = cluster.primary().url("postgres");
    let settings = |command: &mut Process| {
        // Tests choose their own database: one of the developer's must never reach them.
        children::without_databases(command).current_dir(workspace::root());
        command.env("DB_TESTKIT_URL", &url).env("DB_TESTKIT_PG", &major).env(skip::FILE, &skips.file);
        if !without.is_empty() {
            command.env("DB_PLATFORM_WITHOUT", without.join(","));
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
    let skipped = skips.read();
    counts.skip(skipped.len() as u64);
    if !skipped.is_empty() {
        say::note("\nskipped, each for want of something:");
        skipped.iter().for_each(|line| say::note(&format!("  {line}")));
    }
    if outcome.is_ok() && *counts == Counts::default() {
        return Err(Failure::said("no test ran"));
    }
    outcome
}

/// Finds, fetches or installs what some tests need, and returns the names of what is not to be had.
pub(crate) fn not_to_be_had(progress: &dyn Fn(&str)) -> Result<Vec<&'static str>> {
    let redis = db_server::find_redis(progress).map(drop);
    let pgbouncer = PgBouncerProgram::find_or_install(progress).map(drop);
    let mut without = Vec::new();
    for (name, found) in [("redis", redis), ("pgbouncer", pgbouncer)] {
        match found {
            Ok(()) => {}
            Err(db_server::Error::Interrupted) => return Err(db_server::Error::Interrupted.into()),
            Err(error) => {
                say::note(&format!("going on without {name}: {error}"));
                without.push(name);
            }
        }
    }
    Ok(without)
}

/// The file in which tests say that they are skipped; it goes with this value.
struct Skips {
    file: PathBuf,
}

impl Skips {
    fn new(place: &Place) -> Result<Skips> {
        let file = place.root().join(format!("skipped-tests-{}", std::process::id()));
        fs::write(&file, "")?;
        Ok(Skips { file })
    }

    /// One line a test.
    fn read(&self) -> BTreeSet<String> {
        read_skips(&self.file)
    }
}

impl Drop for Skips {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.file));
    }
}

// A test may say it more than once, for different reasons: the first counts.
fn read_skips(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut names = BTreeSet::new();
    let is_new = |line: &&str| names.insert(line.split(": ").next().unwrap_or_default().to_owned());
    text.lines().filter(is_new).map(str::to_owned).collect()
}

fn targets(integration: bool) -> &'static [&'static str] {
    if integration { &["--test", "it"] } else { &["--lib", "--bins", "--tests", "--examples"] }
}

fn has_nextest() -> bool {
    let mut nextest = children::cargo(&["nextest", "--version"]);
    children::output(nextest.stderr(std::process::Stdio::null())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_test_is_listed_once_by_name_with_its_first_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skips");
        let said =
            "db-server redis::b: no Redis\ndb-testkit redis::a: no Redis\ndb-server redis::b: no pip: gone\n";
        fs::write(&file, said).unwrap();
        let found: Vec<String> = read_skips(&file).into_iter().collect();
        assert_eq!(found, ["db-server redis::b: no Redis", "db-testkit redis::a: no Redis"]);
    }
}
