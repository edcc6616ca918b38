//! Prints docs/checks.md, written from the checks themselves.
#![expect(clippy::print_stdout, reason = "it prints the page")]

fn main() {
    print!("{}", db_monitoring::checks::page());
}
