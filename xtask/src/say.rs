//! Writes results to standard output and progress to standard error.
//!
//! A reader that has gone away (`cargo xtask status | head -1`) is no reason to panic.

use std::io::Write;
use std::time::{Duration, Instant};

/// One line of the result.
pub(crate) fn result(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One line for the person who watches.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Does one step and says how long it took.
pub(crate) fn step<T, E>(name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let begin = Instant::now();
    let done = work();
    let mark = if done.is_ok() { "ok " } else { "no " };
    note(&format!("{mark} {:>8}  {name}", seconds(begin.elapsed())));
    done
}

/// A duration as people read it in a list of steps.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{:.1} s", time.as_secs_f64()),
        long => format!("{} min {:02} s", long / 60, long % 60),
    }
}
