//! The environment of somebody who has just cloned the repository: Rust, a C compiler, python3 with pip, and
//! no servers.
//!
//! What is fetched is kept from one run to the next, and its hash is checked as ever.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Result;
use crate::workspace;

/// The programs that a newcomer does not have; a star stands for any end.
const ABSENT: [&str; 7] = ["postgres", "initdb", "pg_*", "psql", "redis-*", "valkey-*", "pgbouncer"];

/// What a newcomer may have set all the same: a python and the hashes of a private mirror.
const KEPT: [&str; 2] = ["DB_PLATFORM_PYTHON", "DB_PLATFORM_WHEEL_SHA256"];

/// Runs a command as a newcomer would.
pub(crate) fn environment(command: &mut Command) -> Result<&mut Command> {
    let home = workspace::read()?.target.join("newcomer");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = name.starts_with("DB_PLATFORM_") || name.starts_with("DB_TESTKIT_");
        if ours && !KEPT.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = path_without_servers(&std::env::split_paths(&path).collect::<Vec<_>>(), &home)?;
    command.env("PATH", std::env::join_paths(directories).unwrap_or(path));
    // PostgreSQL is also looked for where distributions put it.
    Ok(command.env("DB_PLATFORM_PG_SOURCE", "wheel").env("DB_PLATFORM_HOME", home))
}

/// The same directories, each that holds such a program replaced by links to all else in it.
fn path_without_servers(directories: &[PathBuf], home: &Path) -> Result<Vec<PathBuf>> {
    let links = home.join("path");
    if links.exists() {
        fs::remove_dir_all(&links)?;
    }
    let mut path = Vec::new();
    for (number, directory) in directories.iter().enumerate() {
        let entries: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().collect();
        let is_absent = |entry: &fs::DirEntry| is_absent(&entry.file_name().to_string_lossy());
        if !entries.iter().any(is_absent) {
            path.push(directory.clone());
            continue;
        }
        let replacement = links.join(number.to_string());
        fs::create_dir_all(&replacement)?;
        for entry in entries.iter().filter(|entry| !is_absent(entry)) {
            symlink(entry.path(), replacement.join(entry.file_name()))?;
        }
        path.push(replacement);
    }
    Ok(path)
}

fn is_absent(program: &str) -> bool {
    ABSENT.iter().any(|absent| match absent.strip_suffix('*') {
        Some(start) => program.starts_with(start),
        None => program == *absent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_gone_from_path_and_their_neighbours_are_not() {
        let root = tempfile::tempdir().unwrap();
        let (mixed, other, home) =
            (root.path().join("mixed"), root.path().join("other"), root.path().join("home"));
        for program in ["cc", "postgres", "pg_ctl", "redis-server"] {
            fs::create_dir_all(&mixed).unwrap();
            fs::write(mixed.join(program), program).unwrap();
        }
        fs::create_dir(&other).unwrap();
        fs::write(other.join("git"), "git").unwrap();
        for _ in 0..2 {
            let path = path_without_servers(&[mixed.clone(), other.clone()], &home).unwrap();
            let names = |dir: &Path| -> Vec<_> {
                fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
            };
            assert_eq!(names(&path[0]), ["cc"]);
            assert_eq!(fs::read_to_string(path[0].join("cc")).unwrap(), "cc");
            assert_eq!(path[1], other, "a directory without servers stays itself");
        }
    }
}
