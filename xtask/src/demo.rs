//! `demo`: the platform doing its main job, on a cluster that is gone afterwards.

use db_server::{Cluster, Finder, Place, Redis};
use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::{children, say, test, up, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "demo",
    line: "run a mixed load through db-platform on a real cluster, and sum it up",
    help: "
cargo xtask demo [--seconds N] [--json] [--pg 14|15|16|17|18|19] [--profile release|dev] [--compare-cache]

Finds or fetches PostgreSQL, starts one primary and two standbys (and Redis when it can), migrates, seeds, runs a mixed
read and write load for N seconds (20 unless said), and prints a summary on standard output: transactions and reads per
second, latencies, reads per node, retries, pool use, errors. --json prints it as one JSON object on one line.

The cluster is thrown away at the end, also after Ctrl-C at any moment or a failure. Its directory and each node's pid
and port are printed, so that a node can be killed while the load runs:

    cargo xtask demo --seconds 60        and, from another terminal, kill -9 the pid of node2

--compare-cache runs the same load with the cache on and off in turns, on generated data, N seconds on loopback and N with
a millisecond more a round trip, and prints hit rate, mean read and reads per second of both; cached pages that are not
what the database holds are counted, and make it fail. It needs Redis.

Exit status 0 only if no error reached a caller.",
    run,
};

/// What the demonstration is called with.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) seconds: u32,
    pub(crate) json: bool,
    pub(crate) pg: Option<u16>,
    pub(crate) release: bool,
    pub(crate) compare_cache: bool,
}

/// What the cache is compared on: two thousand users, and what belongs to them. The thirty of `dev` are
/// written to as often as anybody reads about them.
const GENERATED: [&str; 3] = ["staging", "--scale", "0.1"];

fn run(mut options: Options) -> Result {
    let mut wishes = Wishes { seconds: 20, json: false, pg: None, release: true, compare_cache: false };
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Long("seconds") => wishes.seconds = options.number()?,
            Arg::Long("json") => wishes.json = true,
            Arg::Long("compare-cache") => wishes.compare_cache = true,
            Arg::Long("pg") => wishes.pg = Some(options.number()?),
            Arg::Long("profile") => {
                wishes.release = match options.value()?.as_str() {
                    "release" => true,
                    "dev" => false,
                    other => return Err(Failure::Usage(format!("--profile {other}: release or dev"))),
                }
            }
            other => return Err(unexpected(&other)),
        }
    }
    demonstrate(&wishes)
}

/// Runs it from beginning to end.
pub(crate) fn demonstrate(wishes: &Wishes) -> Result {
    let progress = |line: &str| say::note(&format!("  … {line}"));
    let place = Place::here()?;
    let install = say::step("find PostgreSQL", || Finder::new(place.clone()).find(wishes.pg, &progress))?;
    say::note(&format!("PostgreSQL {} ({}, {})", install.version, install.origin, install.bin.display()));
    let target = workspace::read()?.target;
    let programs = target.join(if wishes.release { "release" } else { "debug" });
    say::step("build", || children::run_aside(&mut build(wishes.release)))?;

    let redis = up::redis(&progress)?;
    let redis = redis.map(|programs| say::step("start Redis", || Redis::start(&programs))).transpose()?;
    let version = install.version.to_string();
    let builder = Cluster::builder(install).standbys(2).place(place);
    let cluster = say::step("start the cluster", || builder.start_with(&progress))?;
    say::note(&format!("cluster in {}", cluster.dir().display()));
    for node in cluster.nodes() {
        let pid = node.pid().map(|pid| pid.to_string()).unwrap_or_default();
        say::note(&format!("{} pid {pid} port {}", node.name(), node.port()));
    }
    if let Some(redis) = &redis {
        say::note(&format!("redis pid {} port {}", redis.pid().unwrap_or_default(), redis.port()));
    }

    let settings = [
        ("APP_ENV", Some("development".to_owned())),
        ("DATABASE_URL", Some(cluster.primary_url())),
        ("DATABASE_READ_URLS", Some(cluster.standby_urls().join(","))),
        ("REDIS_URL", redis.as_ref().map(Redis::url)),
    ];
    let settings = settings.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let settings: Vec<(&str, String)> = settings.collect();
    let program = |name: &str, arguments: &[&str]| {
        let mut command = children::command(&programs.join(name).display().to_string(), arguments);
        children::without_databases(&mut command).envs(settings.clone()).current_dir(workspace::root());
        command
    };
    let aside = |name: &str, arguments: &[&str]| {
        let mut command = program(name, arguments);
        children::run_with(command.stdout(std::io::stderr()), |child| cluster.guard(child))
    };
    say::step("migrate", || aside("dbctl", &["migrate", "apply", "--dir", "migrations"]))?;
    let data: &[&str] = if wishes.compare_cache { &GENERATED } else { &["dev"] };
    say::step("seed", || aside("dbctl", &[&["seed", "--dir", "seeds"], data].concat()))?;

    let seconds = wishes.seconds.to_string();
    let mut arguments = vec!["--seconds", &seconds, "--pg-version", &version];
    if wishes.json {
        arguments.push("--json");
    }
    if wishes.compare_cache {
        arguments.push("--compare-cache");
    }
    let mut load = program("examples/demo", &arguments);
    let loaded = say::step("load", || children::run_with(&mut load, |child| cluster.guard(child)));
    say::step("stop and remove the cluster", || {
        drop(cluster);
        drop(redis);
        Ok::<_, Failure>(())
    })?;
    loaded
}

fn build(release: bool) -> std::process::Command {
    // Without optimization it is for a contributor, who has built the tests: with their features, so that
    // nothing is built a second time.
    let what: &[&str] =
        if release { &["--release", "--package", "db-cli", "--package", "db-platform"] } else { test::OURS };
    let mut cargo = children::cargo(&[&["build"], what, &["--bin", "dbctl", "--example", "demo"]].concat());
    cargo.current_dir(workspace::root());
    cargo
}
