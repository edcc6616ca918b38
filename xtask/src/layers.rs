//! `layers`: fails when a crate depends on a sibling that it must not know.
//!
//! The rule is one ground, one ring, one roof: `db-core` and the leaves beside it know nobody, the ring knows
//! the ground, and only `db-platform` knows several of the ring.

use std::process::Command as Process;

use crate::command::{Command, Options};
use crate::failure::{Failure, Result};
use crate::workspace::Package;
use crate::{children, circles, described, front, say, thin, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "layers",
    line: "check that no crate depends on a sibling it must not know",
    help: "
cargo xtask layers

Reads `cargo metadata` and fails when a crate depends on a sibling against docs/architecture.md: db-core and the
leaves (db-server, db-statement, db-notify, db-schedule, db-throttle) on none (db-notify
and db-schedule by a feature on db-core), the ring on db-core and the leaves (in the ring's own tests
db-testkit besides), db-platform on ground and ring, db-cli on db-platform, db-core and the leaves, db-testkit on db-core and
db-server, xtask on db-server; nobody on db-benches. Also fails when db-core or db-loader without features pulls a database driver,
when a setting is described outside its own crate's src/settings.rs, when three or more files of a crate use each other all the
way round, when the umbrella has more lines than it had, and when a crate has no README as its front page or no row in the tables
of README.md and docs/architecture.md.",
    run,
};

/// Crates of the ground beside db-core: each knows none of ours.
const LEAVES: [&str; 5] = ["db-server", "db-statement", "db-notify", "db-schedule", "db-throttle"];

const RING: [&str; 12] = [
    "db-pool",
    "db-query",
    "db-retry",
    "db-cache",
    "db-loader",
    "db-replica-routing",
    "db-migrations",
    "db-seeds",
    "db-maintenance",
    "db-backup",
    "db-monitoring",
    "db-insight",
];

fn run(options: Options) -> Result {
    options.none()?;
    check_workspace()
}

/// Checks this workspace.
pub(crate) fn check_workspace() -> Result {
    let packages = workspace::read()?.packages;
    let mut findings = findings(&packages);
    findings.extend(bare_are_bare()?);
    for package in &packages {
        findings.extend(circles::findings(&package.name)?);
        findings.extend(front::findings(package));
    }
    findings.extend(described::findings()?);
    findings.extend(thin::findings()?);
    if findings.is_empty() {
        say::note(&format!("layers: {} crates, each knows only whom it may", packages.len()));
        return Ok(());
    }
    for finding in &findings {
        say::result(finding);
    }
    Err(Failure::said(format!("{} layer violations; the rules are in docs/architecture.md", findings.len())))
}

fn findings(packages: &[Package]) -> Vec<String> {
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut findings = Vec::new();
    for package in packages {
        let Some(rule) = rule(&package.name) else {
            findings.push(format!("{} has no layer: give it one in xtask/src/layers.rs", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| ours(&dependency.name)) {
            // A crate may name itself in its dev-dependencies, to turn on features for its tests.
            if !rule(&dependency.name, dependency.dev) && dependency.name != package.name {
                let kind = if dependency.dev { "dev-depends" } else { "depends" };
                findings
                    .push(format!("{} {kind} on {}, which it must not know", package.name, dependency.name));
            }
        }
    }
    findings
}

/// Whether a crate of this name may depend on another, given its name and whether only for tests.
fn rule(name: &str) -> Option<fn(&str, bool) -> bool> {
    Some(match name {
        "db-core" => |_, _| false,
        // A leaf's tests may use the test kit, except db-server's: the test kit stands on it.
        "db-server" => |_, _| false,
        // Each stands alone; a feature that goes to a database or reads settings knows the ground's nouns.
        "db-notify" | "db-schedule" => |on, dev| on == "db-core" || (dev && on == "db-testkit"),
        leaf if LEAVES.contains(&leaf) => |on, dev| dev && on == "db-testkit",
        "db-testkit" => |on, _| matches!(on, "db-core" | "db-server"),
        "db-platform" => |on, dev| is_ground(on) || RING.contains(&on) || (dev && on == "db-testkit"),
        "db-cli" => |on, dev| on == "db-platform" || is_ground(on) || (dev && on == "db-testkit"),
        "xtask" => |on, _| on == "db-server",
        // It measures whatever there is, and nobody depends on it.
        "db-benches" => |on, _| on != "xtask",
        ring if RING.contains(&ring) => |on, dev| is_ground(on) || (dev && on == "db-testkit"),
        _ => return None,
    })
}

fn is_ground(name: &str) -> bool {
    name == "db-core" || LEAVES.contains(&name)
}

/// These pull no driver without features.
const BARE: [&str; 4] = ["db-core", "db-loader", "db-notify", "db-schedule"];

/// db-core is nouns only, a loader may ask anything, and a leaf stands alone.
fn bare_are_bare() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in BARE {
        let mut tree: Process = children::cargo(&["tree", "--package", package, "--no-default-features"]);
        tree.args(["--edges", "normal", "--prefix", "none"]).current_dir(workspace::root());
        findings.extend(drivers_in(package, &children::output(&mut tree)?));
    }
    Ok(findings)
}

fn drivers_in(package: &str, tree: &str) -> Vec<String> {
    // A loader has tasks.
    let is_driver = |name: &&str| {
        name.starts_with("diesel")
            || matches!(*name, "tokio-postgres" | "pq-sys")
            || (*name == "tokio" && package == "db-core")
            || (*name == "db-core" && LEAVES.contains(&package))
    };
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(is_driver).map(|name| format!("{package} without features pulls {name}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, on: &[(&str, bool)]) -> Package {
        let dependencies =
            on.iter().map(|(name, dev)| Dependency { name: (*name).to_owned(), dev: *dev }).collect();
        Package { name: name.to_owned(), folder: PathBuf::new(), dependencies, benches: Vec::new() }
    }

    #[test]
    fn a_planted_violation_is_found_and_what_is_allowed_is_not() {
        let check = |name: &str, on: (&str, bool), allowed: bool| {
            let all = [
                "db-core",
                "db-server",
                "db-statement",
                "db-notify",
                "db-testkit",
                "db-query",
                "db-pool",
                "db-retry",
                "db-platform",
                "db-cli",
                "db-benches",
                "xtask",
            ];
            let mut packages: Vec<Package> =
                all.iter().filter(|other| **other != name).map(|other| package(other, &[])).collect();
            packages.push(package(name, &[on]));
            let found = findings(&packages);
            assert_eq!(found.is_empty(), allowed, "{name} on {on:?}: {found:?}");
        };
        check("db-pool", ("db-core", false), true);
        check("db-pool", ("db-retry", false), false);
        check("db-pool", ("db-retry", true), false);
        check("db-pool", ("db-testkit", true), true);
        check("db-pool", ("db-testkit", false), false);
        check("db-pool", ("serde", false), true);
        check("db-pool", ("db-pool", true), true);
        check("db-core", ("db-server", false), false);
        check("db-server", ("db-core", false), false);
        check("db-statement", ("db-core", false), false);
        check("db-statement", ("db-notify", false), false);
        check("db-statement", ("db-testkit", true), true);
        check("db-statement", ("db-testkit", false), false);
        check("db-server", ("db-testkit", true), false);
        check("db-core", ("db-statement", false), false);
        check("db-notify", ("db-core", false), true);
        check("db-notify", ("db-statement", false), false);
        check("db-pool", ("db-statement", false), true);
        check("db-query", ("db-statement", false), true);
        check("db-query", ("db-pool", false), false);
        check("db-pool", ("db-query", false), false);
        check("db-platform", ("db-notify", false), true);
        check("db-platform", ("db-query", false), true);
        check("db-cli", ("db-statement", false), true);
        check("db-testkit", ("db-statement", false), false);
        check("xtask", ("db-statement", false), false);
        check("db-testkit", ("db-server", false), true);
        check("db-testkit", ("db-pool", false), false);
        check("db-platform", ("db-retry", false), true);
        check("db-platform", ("db-testkit", false), false);
        check("db-cli", ("db-platform", false), true);
        check("db-cli", ("db-pool", false), false);
        check("xtask", ("db-platform", false), false);
        check("db-benches", ("db-platform", false), true);
        check("db-platform", ("db-benches", true), false);
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        let found = findings(&[package("db-extra", &[])]);
        assert_eq!(found, ["db-extra has no layer: give it one in xtask/src/layers.rs"]);
    }

    #[test]
    fn a_driver_under_the_ground_is_found() {
        let tree = "db-core v0.1.0 (/x)\nthiserror v2.0.1\ndiesel v2.3.1\ntokio-postgres v0.7.1\n";
        assert_eq!(drivers_in("db-core", tree).len(), 2);
        assert_eq!(drivers_in("db-core", "db-core v0.1.0\nthiserror v2.0.1\n"), Vec::<String>::new());
        let with_tasks = "db-loader v0.1.0 (/x)\ntokio v1.54.1\n";
        assert_eq!(drivers_in("db-loader", with_tasks), Vec::<String>::new());
        assert_eq!(drivers_in("db-core", with_tasks).len(), 1);
        assert_eq!(drivers_in("db-loader", tree).len(), 2);
        assert_eq!(drivers_in("db-notify", "db-notify v0.1.0 (/x)\ndb-core v0.1.0 (/x)\n").len(), 1);
    }
}
