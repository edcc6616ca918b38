//! What a program takes: how long it runs, and the most memory that it has, as the kernel counts.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a program, which must succeed; its seconds, and its most bytes of memory.
pub(crate) fn run(command: &mut Command) -> (f64, u64) {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(resident(&child));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        db_server::wait_until(Duration::from_millis(2), || false);
    };
    assert!(status.success(), "{:?} failed", command.get_program());
    (began.elapsed().as_secs_f64(), peak)
}

fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
