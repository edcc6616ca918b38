//! Root and everybody else.

use crate::children;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const NOBODY: u32 = 65_534;

/// PostgreSQL refuses to run as root: root's servers run as another user, and nobody's as nobody.
#[test]
fn a_cluster_starts_for_root_and_for_a_user_without_rights() {
    let own = rustix::process::geteuid().as_raw();
    let mut child = children::start("cluster", None, None);
    let server: u32 = child.heard().split_once(' ').unwrap().0.parse().unwrap();
    assert_ne!(server, 0);
    if own != 0 {
        assert_eq!(server, own, "the tests run without rights already");
        return;
    }
    assert_eq!(nobodys_server(), NOBODY);
}

/// Starts the child as nobody, in a directory that nobody can reach.
fn nobodys_server() -> u32 {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let binary = dir.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
    command
        .current_dir(dir.path())
        .env("HOME", dir.path())
        .env("TMPDIR", dir.path())
        .env_remove("CARGO_TARGET_DIR");
    let mut child = children::start_through(command, "cluster", None, None);
    let said = child.heard();
    let uid = said.split_once(' ').unwrap().0.parse().unwrap();
    child.go_on();
    assert!(child.child.wait().unwrap().success());
    uid
}
