//! What is left behind: nothing, however the owner ends.

use crate::children::{self, Running};
use crate::until;
use std::path::{Path, PathBuf};

/// Processes whose working directory is below `dir`.
fn processes_in(dir: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

async fn nothing_is_left(dir: &Path) {
    until("the directory's end", async || !dir.exists()).await;
    until("the processes' end", async || processes_in(dir).is_empty()).await;
}

fn owner(role: &str) -> (Running, PathBuf) {
    let mut owner = children::start(role, None, None);
    let dir = PathBuf::from(owner.heard().split_once(' ').unwrap().1);
    assert!(dir.exists() && processes_in(&dir).len() > 1);
    (owner, dir)
}

#[tokio::test]
async fn no_process_and_no_directory_is_left_after_a_panic() {
    let (mut owner, dir) = owner("cluster, then panic");
    owner.go_on();
    assert_eq!(owner.child.wait().unwrap().code(), Some(101), "it panicked");
    nothing_is_left(&dir).await;
}

#[tokio::test]
async fn no_process_and_no_directory_is_left_after_the_owner_is_killed_with_9() {
    let (mut owner, dir) = owner("cluster");
    owner.kill();
    nothing_is_left(&dir).await;
}

#[tokio::test]
async fn the_server_of_a_process_ends_with_it() {
    let (mut killed, dir) = owner("database");
    killed.kill();
    nothing_is_left(&dir).await;
    let (mut returned, dir) = owner("database");
    returned.go_on();
    assert!(returned.child.wait().unwrap().success());
    nothing_is_left(&dir).await;
}
