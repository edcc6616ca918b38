//! A demo that is disturbed: a standby is killed, or the demo itself is interrupted.
//!
//! The line to remove: `attempts.again(…)` in `Retry::begin_at` of db-retry's retry.rs makes reads of the
//! killed standby fail; `fs::remove_dir_all(&self.dir)` in `Home`'s `Drop` of db-server's home.rs leaves the
//! directory behind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use serde_json::{Value, json};

use crate::{Figure, Size, demo};

/// A demo whose load is under way.
struct Running {
    child: Child,
    directory: PathBuf,
    pids: BTreeMap<String, String>,
    progress: std::thread::JoinHandle<()>,
}

impl Running {
    /// Starts a demo and returns when its load is under way.
    fn start(seconds: u32) -> Running {
        let mut child = demo::command(seconds).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut directory, mut pids) = (PathBuf::new(), BTreeMap::new());
        for line in lines.by_ref().map_while(Result::ok) {
            eprintln!("{line}");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["cluster", "in", path] => directory = PathBuf::from(path),
                [node, "pid", pid, "port", _] => drop(pids.insert((*node).to_owned(), (*pid).to_owned())),
                // Its own report of the first second.
                [_, "s", _, "transactions/s", ..] => break,
                _ => {}
            }
        }
        // Whoever writes progress must find someone who reads it.
        let progress =
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Running { child, directory, pids, progress }
    }

    fn finish(mut self) -> (ExitStatus, Value) {
        let mut output = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        let status = self.child.wait().unwrap();
        self.progress.join().unwrap();
        (status, serde_json::from_str(&output).unwrap_or(Value::Null))
    }
}

fn signal(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success(), "kill {signal} {pid}");
}

/// Processes that work in the cluster's directory or were started from it, and the directory itself.
fn leftovers(directory: &Path) -> Vec<String> {
    let text = directory.to_string_lossy().into_owned();
    let mut left: Vec<String> = directory.exists().then(|| text.clone()).into_iter().collect();
    for process in std::fs::read_dir("/proc").unwrap().map_while(Result::ok) {
        let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        let cwd = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
        if command.contains(&text) || cwd.starts_with(directory) {
            left.push(format!("{} {}", process.file_name().to_string_lossy(), command.replace('\0', " ")));
        }
    }
    left
}

pub(crate) fn measure(size: Size) -> Figure {
    let (seconds, kills, interrupts) = match size {
        Size::Ci => (8, 3, 2),
        Size::Nightly => (20, 20, 10),
    };
    let (mut errors, mut failed, mut left, mut texts) = (0.0, 0, Vec::new(), Vec::new());
    for _ in 0..kills {
        let disturbed = Running::start(seconds);
        signal("-KILL", &disturbed.pids["node2"]);
        let directory = disturbed.directory.clone();
        let (status, summary) = disturbed.finish();
        errors += summary["errors"].as_f64().unwrap_or(f64::NAN);
        failed += u32::from(!status.success());
        left.extend(leftovers(&directory));
        texts.push(summary["error_texts"].clone());
    }

    let mut codes = Vec::new();
    for _ in 0..interrupts {
        let interrupted = Running::start(600);
        signal("-INT", &interrupted.child.id().to_string());
        let directory = interrupted.directory.clone();
        let (status, _) = interrupted.finish();
        codes.push(status.code());
        left.extend(leftovers(&directory));
    }
    let well_ended = failed == 0 && codes.iter().all(|code| *code == Some(130));
    Figure {
        value: errors + left.len() as f64,
        unit: "errors and leftovers",
        holds: well_ended && errors == 0.0 && left.is_empty(),
        detail: json!({
            "kills": kills,
            "errors": errors,
            "error_texts": texts,
            "leftovers": left,
            "exit_after_ctrl_c": codes,
        }),
    }
}
