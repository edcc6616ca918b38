//! Starts real servers and breaks them.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helper says what it expects by unwrapping, as the test does"
)]

mod clusters;
mod development;
mod fetching;
mod finding;
mod leaving;
mod redis;

use std::path::Path;
use std::time::Duration;

use db_server::{Cluster, ClusterBuilder, Install};

/// How long a test waits for what should take a moment.
const LIMIT: Duration = Duration::from_secs(60);

/// The server that the tests run on: of the major version in DB_TESTKIT_PG, if one is set.
fn install() -> Install {
    let wanted = std::env::var("DB_TESTKIT_PG").ok().and_then(|major| major.parse().ok());
    db_server::find(wanted, &|line| eprintln!("{line}")).unwrap()
}

fn cluster() -> ClusterBuilder {
    Cluster::builder(install())
}

/// The pids of all processes that work in a directory or below it.
fn processes_in(dir: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .collect()
}
