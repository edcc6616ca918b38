//! What is left behind: nothing, however the owner ends.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use db_server::process::{Signal, Stamp};
use db_server::wait_until;

use crate::{LIMIT, cluster, processes_in};

const ROLE: &str = "DB_SERVER_TEST_ROLE";

/// Not a test by itself: the other tests here run it as a process that they can kill.
#[test]
#[ignore = "run by the other tests"]
fn an_owner() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let cluster = cluster().standbys(1).start().unwrap();
    let mut load = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    cluster.guard(&load);
    eprintln!("owner: {} {}", cluster.dir().display(), load.id());
    match role.as_str() {
        "panic" => {
            load.kill().unwrap();
            load.wait().unwrap();
            panic!("the owner panics");
        }
        "paused" => cluster.standbys().next().unwrap().pause().unwrap(),
        _ => {}
    }
    // Blocks until the test closes the pipe, which it does not do before the owner is dead.
    let _ = std::io::stdin().read(&mut [0]);
    if role == "end_everything" {
        db_server::end_everything();
        std::process::exit(130);
    }
}

struct Owner {
    child: Child,
    dir: PathBuf,
    load: Stamp,
}

fn owner(role: &str) -> Owner {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "leaving::an_owner", "--ignored", "--nocapture"]).env(ROLE, role);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("owner: ").map(str::to_owned));
    let line = line.unwrap();
    let (dir, load) = line.split_once(' ').unwrap();
    let load = load.parse().ok();
    Owner { child, dir: dir.into(), load: load.and_then(Stamp::of).unwrap_or(Stamp { pid: 0, started: 0 }) }
}

impl Owner {
    fn nothing_is_left(mut self) {
        let gone = wait_until(LIMIT, || !self.dir.exists());
        assert!(gone, "{} is still there", self.dir.display());
        assert_eq!(processes_in(&self.dir), Vec::<u32>::new());
        assert!(!self.load.is_alive(), "the guarded process is still there");
        self.child.wait().unwrap();
    }
}

#[test]
fn nothing_is_left_after_the_owner_is_killed_with_9() {
    let owner = owner("hold");
    assert!(!processes_in(&owner.dir).is_empty());
    Stamp::of(owner.child.id()).unwrap().signal(Signal::Kill);
    owner.nothing_is_left();
}

#[test]
fn nothing_is_left_after_the_owner_of_a_paused_server_is_killed() {
    let owner = owner("paused");
    Stamp::of(owner.child.id()).unwrap().signal(Signal::Kill);
    owner.nothing_is_left();
}

#[test]
fn nothing_is_left_after_the_owner_panics() {
    owner("panic").nothing_is_left();
}

#[test]
fn end_everything_has_removed_all_when_it_returns() {
    let mut owner = owner("end_everything");
    drop(owner.child.stdin.take());
    assert_eq!(owner.child.wait().unwrap().code(), Some(130));
    assert!(!owner.dir.exists(), "no waiting is needed");
    assert_eq!(processes_in(&owner.dir), Vec::<u32>::new());
}

#[test]
fn a_persons_shell_in_the_directory_is_left_alone() {
    let owner = owner("hold");
    let mut shell = Command::new("sleep").arg("1000").current_dir(&owner.dir).spawn().unwrap();
    Stamp::of(owner.child.id()).unwrap().signal(Signal::Kill);
    assert!(wait_until(LIMIT, || !owner.dir.exists()));
    assert!(Stamp::of(shell.id()).is_some(), "only server programs are ended");
    shell.kill().unwrap();
    shell.wait().unwrap();
    owner.nothing_is_left();
}
