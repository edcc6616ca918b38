//! The deterministic simulation: promises hold whatever goes wrong, and each guard is needed.

use db_cache::Mutant;
use db_cache::simulation::{Report, Setting, simulate};

fn run(seed: u64, mutant: Mutant) -> Report {
    simulate(Setting { seed, mutant }).unwrap()
}

#[test]
fn promises_hold_whatever_goes_wrong() {
    let (mut reads, mut hits) = (0, 0);
    for seed in 0..200 {
        let report = run(seed, Mutant::None);
        assert_eq!(report.violations, [], "seed {seed}");
        reads += report.reads;
        hits += report.hits;
    }
    assert!(reads > 50_000 && hits > 10_000, "{reads} reads, {hits} hits");
}

#[test]
fn a_seed_replays() {
    for seed in [3, 8] {
        assert_eq!(run(seed, Mutant::None), run(seed, Mutant::None));
    }
}
