//! Prints the figures of an area, one JSON object a line: ours against its peers.

mod cache;
mod line;
mod loader;
mod pool;
mod routing;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let Some((area, only)) = words.split_first() else {
        return ExitCode::SUCCESS;
    };
    // `bench pool tap spike` measures only these.
    let wanted = |group: &str| only.is_empty() || only.iter().any(|word| word == group);
    match area.as_str() {
        "loader" => loader::measure(wanted),
        "cache" => cache::measure(wanted),
        "pool" => pool::measure(wanted),
        "routing" => routing::measure(wanted),
        _ => {}
    }
    ExitCode::SUCCESS
}
