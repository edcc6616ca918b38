//! The demo's load with the cache on against off: `cargo xtask demo --compare-cache`.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where the servers are, as the summary names it.
pub const PLACES: [&str; 2] = ["loopback", "network"];

/// Runs it, so many seconds at each place; the summary.
///
/// # Panics
/// Where it fails, or says nothing.
pub fn with_and_without_cache(seconds: u32) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["xtask", "demo", "--json", "--compare-cache"]);
    command.args(["--seconds", &seconds.to_string()]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "the demo ended with {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
