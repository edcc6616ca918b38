//! Runs programs to their end, and knows which are running so that an interrupt can end them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use db_server::process::{self, Signal, Stamp};

use crate::failure::{Failure, Result};
use crate::say;

const PATIENCE: Duration = Duration::from_secs(10);

static RUNNING: Mutex<Vec<Stamp>> = Mutex::new(Vec::new());

/// A command with nothing on its standard input.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What names a database, or tells our programs how to treat one, wherever it was set.
const DATABASE_SETTINGS: [&str; 8] =
    ["APP_ENV", "DATABASE_", "DB_", "POSTGRES_", "PG", "REDIS_", "CACHE_", "SLOW_QUERY_THRESHOLD"];

/// Hides the caller's own databases from a program: only what is set from now on reaches it.
pub(crate) fn without_databases(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = name.starts_with("DB_PLATFORM_") || name.starts_with("DB_TESTKIT_");
        if !ours && DATABASE_SETTINGS.iter().any(|start| name.starts_with(start)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// The cargo that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

/// Runs a program; what it prints is what we print.
pub(crate) fn run(command: &mut Command) -> Result {
    run_with(command, |_| {})
}

/// The same, with its standard output on our standard error, because ours is for the result.
pub(crate) fn run_aside(command: &mut Command) -> Result {
    run(command.stdout(std::io::stderr()))
}

/// The same, showing the child to someone as soon as it runs.
pub(crate) fn run_with(command: &mut Command, started: impl FnOnce(&Child)) -> Result {
    let mut child = start(command)?;
    started(&child);
    let status = child.wait();
    forget(&child);
    judge(status?)
}

/// Runs a program and returns what it printed on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let child = start(command.stdout(Stdio::piped()))?;
    let id = child.id();
    let output = child.wait_with_output();
    running().retain(|stamp| stamp.pid != id);
    let output = output?;
    judge(output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program, passes both of its streams on to standard error line by line, and shows each line to
/// `read`.
pub(crate) fn watch(command: &mut Command, mut read: impl FnMut(&str) + Send) -> Result {
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = Mutex::new(&mut read);
    let pass = |stream: &mut dyn BufRead| {
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line);
            say::note(text.trim_end());
            read.lock().unwrap_or_else(|poisoned| poisoned.into_inner())(text.trim_end());
            line.clear();
        }
    };
    thread::scope(|scope| {
        if let Some(out) = out {
            scope.spawn(move || pass(&mut BufReader::new(out)));
        }
        if let Some(err) = err {
            scope.spawn(move || pass(&mut BufReader::new(err)));
        }
    });
    let status = child.wait();
    forget(&child);
    judge(status?)
}

/// Runs a program and shows each line of its standard output to `read` as it comes; its progress is ours.
pub(crate) fn watch_output(command: &mut Command, mut read: impl FnMut(&str)) -> Result {
    let mut child = start(command.stdout(Stdio::piped()))?;
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).lines().map_while(std::io::Result::ok).for_each(|line| read(&line));
    }
    let status = child.wait();
    forget(&child);
    judge(status?)
}

/// Ends every running child with everything in its group: first politely, then not.
pub(crate) fn end_all() {
    let all = running().clone();
    for (signal, limit) in
        [(Signal::Interrupt, PATIENCE), (Signal::Terminate, PATIENCE), (Signal::Kill, PATIENCE)]
    {
        for stamp in &all {
            stamp.signal_group(signal);
        }
        if all.iter().all(|stamp| stamp.wait_gone(limit)) {
            return;
        }
    }
}

fn start(command: &mut Command) -> Result<Child> {
    let child = process::spawn(command)?;
    running().extend(Stamp::of(child.id()));
    Ok(child)
}

fn forget(child: &Child) {
    running().retain(|stamp| stamp.pid != child.id());
}

fn judge(status: ExitStatus) -> Result {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Status(u8::try_from(code).unwrap_or(1))),
        None => Err(Failure::said(format!("a child ended with {status}"))),
    }
}

fn running() -> MutexGuard<'static, Vec<Stamp>> {
    RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
