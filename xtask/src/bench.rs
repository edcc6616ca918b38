//! `bench`: compares ours with its peers.

use std::fs;

use lexopt::Arg;
use serde_json::Value;

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::prove::{cell, objects};
use crate::{children, say, table, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "bench",
    line: "run the benchmarks of an area, side by side with its peers",
    help: "
cargo xtask bench AREA [--json]

Runs the bench targets called `bench` for an area (pool, testkit, …), and prints a table, or with --json one object a line:
ours, the peer's, the ratio with its 95 % interval, the target. The results are kept in target/bench/. Exit status 0
only if every target holds.",
    run,
};

fn run(mut options: Options) -> Result {
    let (mut area, mut json) = (None, false);
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Long("json") => json = true,
            Arg::Value(value) if area.is_none() => area = Some(value.to_string_lossy().into_owned()),
            other => return Err(unexpected(&other)),
        }
    }
    let area = area.ok_or_else(|| Failure::Usage("bench needs an AREA".to_owned()))?;
    let space = workspace::read()?;
    let kept = space.target.join("bench");
    fs::create_dir_all(&kept)?;
    let having = space.packages.iter().filter(|package| package.benches.iter().any(|bench| bench == "bench"));
    let mut results = Vec::new();
    for package in having {
        let mut command =
            children::cargo(&["bench", "--quiet", "--package", &package.name, "--bench", "bench", "--"]);
        command.arg(&area).current_dir(workspace::root());
        let mut text = String::new();
        let ended = children::watch_output(&mut command, |line| {
            if json {
                say::result(line);
            }
            text.push_str(line);
            text.push('\n');
        });
        let found = objects(&text)?;
        // A crate that has nothing for this area says nothing; one that breaks before it said anything is a
        // failure.
        if found.is_empty() {
            ended?;
        }
        results.extend(found);
    }
    if results.is_empty() {
        return Err(Failure::said(format!("there is no benchmark for {area}")));
    }
    for result in &results {
        fs::write(kept.join(format!("{}.json", cell(&result["bench"]))), format!("{result:#}\n"))?;
    }
    if !json {
        show(&results);
    }
    let broken: Vec<String> = results
        .iter()
        // Against some peers nothing is promised.
        .filter(|result| !result["target"].is_null() && result["holds"] != true)
        .map(|result| cell(&result["bench"]))
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Failure::said(format!("does not hold: {}", broken.join(", "))))
    }
}

fn show(results: &[Value]) {
    let keys = ["bench", "ours", "peer", "peer_name", "unit", "ratio", "interval", "target", "holds"];
    let rows: Vec<_> = results.iter().map(|result| keys.map(|key| cell(&result[key])).to_vec()).collect();
    say::result(&table::render(&keys, &rows));
}
