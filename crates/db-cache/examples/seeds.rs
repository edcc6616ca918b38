//! Runs seeds of the simulation and prints the promises that were not kept: `seeds FIRST COUNT`.

use db_cache::Mutant;
use db_cache::simulation::{Setting, simulate};

fn main() -> std::io::Result<()> {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let (first, count) = (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(100));
    let (mut bad, mut reads, mut hits, mut loads) = (0, 0, 0, 0);
    for seed in first..first.saturating_add(count) {
        let report = simulate(Setting { seed, mutant: Mutant::None })?;
        (reads, hits, loads) = (reads + report.reads, hits + report.hits, loads + report.loads);
        if !report.violations.is_empty() {
            bad += 1;
            eprintln!("seed {seed}: {:?}", report.violations);
        }
    }
    eprintln!("{count} seeds, {bad} bad, {reads} reads, {hits} hits, {loads} loads");
    Ok(())
}
