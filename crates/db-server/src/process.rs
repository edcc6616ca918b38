//! Starts, watches and signals processes, and never mistakes a reused pid for the process it knew.
//!
//! A pid alone is not an identity: after the process has ended, the kernel may give the number to a stranger.
//! A [`Stamp`] is the pid together with the moment the process started.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::RwLock;
use std::time::Duration;

use rustix::process::Pid;

use crate::{Error, Result, wait_until};

/// A signal that this crate sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C; PostgreSQL's fast shutdown.
    Interrupt,
    /// Please end; PostgreSQL's smart shutdown.
    Terminate,
    /// PostgreSQL's immediate shutdown.
    Quit,
    /// End at once, with no clean-up.
    Kill,
    /// Freeze.
    Stop,
    /// Thaw.
    Continue,
    /// Reread the settings.
    HangUp,
}

impl Signal {
    fn native(self) -> rustix::process::Signal {
        use rustix::process::Signal as Native;
        match self {
            Signal::Interrupt => Native::INT,
            Signal::Terminate => Native::TERM,
            Signal::Quit => Native::QUIT,
            Signal::Kill => Native::KILL,
            Signal::Stop => Native::STOP,
            Signal::Continue => Native::CONT,
            Signal::HangUp => Native::HUP,
        }
    }
}

/// One process, told apart from every later one that may get the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its pid.
    pub pid: u32,
    /// When it started, in the kernel's own units: good for comparing only.
    pub started: u64,
}

impl Stamp {
    /// The process that has this pid now, unless there is none or it has ended and only waits to be reaped.
    pub fn of(pid: u32) -> Option<Stamp> {
        table::one(pid).filter(|row| !row.ended).map(|row| row.stamp)
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        Stamp::of(self.pid) == Some(*self)
    }

    /// Sends a signal to this very process; `false` when it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && send(self.pid, signal)
    }

    /// Sends a signal to this process and everything in the group that it leads.
    pub fn signal_group(&self, signal: Signal) -> bool {
        let Some(pid) = native_pid(self.pid).filter(|_| self.is_alive()) else { return false };
        rustix::process::kill_process_group(pid, signal.native()).is_ok()
    }

    /// Waits until the process is gone, at most for `limit`; says whether it is.
    pub fn wait_gone(&self, limit: Duration) -> bool {
        wait_until(limit, || !self.is_alive())
    }

    /// The processes that this one started and that still run.
    pub fn children(&self) -> Vec<Stamp> {
        table::all()
            .into_iter()
            .filter(|row| row.parent == self.pid && !row.ended)
            .map(|row| row.stamp)
            .collect()
    }
}

/// A server process that was found by the directory it works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) stamp: Stamp,
    pub(crate) dir: PathBuf,
    parent: u32,
}

/// The PostgreSQL, Redis and PgBouncer processes that work below this directory, even if it was removed under
/// them.
///
/// On Linux; elsewhere none are found.
pub(crate) fn servers_below(dir: &Path) -> Vec<Found> {
    let look = |row: Row| {
        let link = |name: &str| std::fs::read_link(format!("/proc/{}/{name}", row.stamp.pid)).ok();
        let cwd = link("cwd")?;
        let cwd = cwd.to_str().map_or(cwd.clone(), |text| PathBuf::from(text.trim_end_matches(" (deleted)")));
        let program = link("exe")?.file_name()?.to_string_lossy().into_owned();
        let ours = ["postgres", "pgbouncer"].contains(&program.as_str())
            || program.starts_with("redis-")
            || program.starts_with("valkey-");
        (ours && cwd.starts_with(dir)).then_some(Found { stamp: row.stamp, dir: cwd, parent: row.parent })
    };
    table::all().into_iter().filter(|row| !row.ended).filter_map(look).collect()
}

/// Those of them that were not started by another of them: the postmasters, and every Redis.
pub(crate) fn leaders(found: &[Found]) -> impl Iterator<Item = &Found> {
    found.iter().filter(|one| !found.iter().any(|other| other.stamp.pid == one.parent))
}

/// Starts a program in a process group of its own, so that a terminal's Ctrl-C reaches only this process.
///
/// Once [`crate::end_everything`] has been called nothing is started any more.
pub fn spawn(command: &mut Command) -> Result<Child> {
    let gate = GATE.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    if *gate {
        return Err(Error::Interrupted);
    }
    command.process_group(0);
    command.spawn().map_err(|source| Error::Spawn { program: name_of(command), source })
}

/// Runs a program to its end and returns what it printed; an unsuccessful end is an error.
pub fn run(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = spawn(command)?;
    finish(command, child)
}

pub(crate) fn finish(command: &Command, child: Child) -> Result<Output> {
    let program = name_of(command);
    let output =
        child.wait_with_output().map_err(|source| Error::Spawn { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(output);
    }
    if *GATE.read().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        return Err(Error::Interrupted);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Program { program, status: output.status, said: last_lines(&said, 8) })
}

/// Closes the gate: waits for a start that is under way, then lets no other begin.
pub fn start_nothing_more() {
    *GATE.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn name_of(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn native_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn send(pid: u32, signal: Signal) -> bool {
    native_pid(pid).is_some_and(|pid| rustix::process::kill_process(pid, signal.native()).is_ok())
}

static GATE: RwLock<bool> = RwLock::new(false);

struct Row {
    stamp: Stamp,
    parent: u32,
    ended: bool,
}

#[cfg(target_os = "linux")]
mod table {
    use super::{Row, Stamp};

    pub(super) fn one(pid: u32) -> Option<Row> {
        parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    pub(super) fn all() -> Vec<Row> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(one)
            .collect()
    }

    // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fn parse(pid: u32, stat: &str) -> Option<Row> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ended = matches!(*fields.first()?, "Z" | "X");
        let started = fields.get(19)?.parse().ok()?;
        Some(Row { stamp: Stamp { pid, started }, parent: fields.get(1)?.parse().ok()?, ended })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_program_name_with_parentheses_does_not_shift_the_fields() {
            let stat = "7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 98765 1 2";
            let row = parse(7, stat).unwrap();
            assert_eq!((row.parent, row.stamp.started, row.ended), (3, 98_765, false));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod table {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::process::Command;

    use super::{Row, Stamp};

    pub(super) fn one(pid: u32) -> Option<Row> {
        all().into_iter().find(|row| row.stamp.pid == pid)
    }

    pub(super) fn all() -> Vec<Row> {
        let output = Command::new("ps").args(["-axo", "pid=,ppid=,state=,lstart="]).output();
        let Ok(output) = output else { return Vec::new() };
        String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect()
    }

    fn parse(line: &str) -> Option<Row> {
        let mut fields = line.split_whitespace();
        let pid = fields.next()?.parse().ok()?;
        let parent = fields.next()?.parse().ok()?;
        let ended = fields.next()?.starts_with('Z');
        let mut hasher = DefaultHasher::new();
        fields.collect::<Vec<_>>().hash(&mut hasher);
        Some(Row { stamp: Stamp { pid, started: hasher.finish() }, parent, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_with_another_start_is_another_process() {
        let own = Stamp::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let reused = Stamp { started: own.started + 1, ..own };
        assert!(!reused.is_alive());
        assert!(!reused.signal(Signal::Continue));
    }

    #[test]
    fn an_unreaped_child_counts_as_gone() {
        let mut child = Command::new("true").spawn().unwrap();
        assert!(wait_until(Duration::from_secs(5), || Stamp::of(child.id()).is_none()));
        child.wait().unwrap();
    }
}
