//! A test that cannot run here is skipped by name, and counted.
//!
//! Rust's test runners know no such end: the test returns, and they count it as passed. So it leaves a line
//! in the file that `DB_TESTKIT_SKIPS` names, and `cargo xtask test`, which sets that, corrects the counts
//! and lists the names.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::panic::Location;

/// Names the file that collects what was skipped.
pub const FILE: &str = "DB_TESTKIT_SKIPS";

/// Says that the calling test is skipped, and why; the test returns next.
///
/// Without `DB_TESTKIT_SKIPS` it is said on standard error only. To be called on the test's own thread, whose
/// name is the test's.
///
/// ```
/// fn a_row_is_cached() {
///     let Ok(program) = db_server::find_redis(&|_| ()) else {
///         return db_server::skip::this_test("there is no Redis");
///     };
///     // …
/// #   let _ = program;
/// }
/// ```
#[track_caller]
pub fn this_test(why: impl Display) {
    let thread = std::thread::current();
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => Location::caller().to_string(),
    };
    let package = crate::environment("CARGO_PKG_NAME").unwrap_or_default();
    let why = why.to_string().replace('\n', " ");
    let line = format!("{package} {test}: {why}");
    let written = crate::environment(FILE).is_some_and(|path| {
        let file = File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).is_ok()
    });
    let uncounted = if written { "" } else { " (counted as passed)" };
    eprintln!("skipped{uncounted}: {line}");
}
