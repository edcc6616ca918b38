//! Runs seeds of the simulation and prints the promises that were not kept: `seeds FIRST COUNT`.

use db_cache::Mutant;
use db_cache::simulation::{Setting, simulate};

fn main() -> std::io::Result<()> {
    let m: Option<String> = std::env::args().nth(3);
    let ms = [
        ("all", Mutant::None),
        ("roll", Mutant::BumpOnRollback),
        ("late", Mutant::RelayedLate),
        ("untold", Mutant::AnswerUntold),
        ("r4", Mutant::NoMark),
        ("r1", Mutant::IgnoreStamps),
        ("r5", Mutant::UnknownIsRollback),
        ("r6", Mutant::IgnoreFloor),
        ("r7", Mutant::NoFeedLease),
        ("r16", Mutant::IgnoreTimeline),
        ("r12", Mutant::IgnoreRun),
        ("r15", Mutant::KeepEpoch),
        ("evict", Mutant::ResurrectMarker),
        ("r13", Mutant::SlotsBySchema),
        ("r14", Mutant::ServeInvalidated),
        ("r9", Mutant::IgnoreDoubt),
        ("r10", Mutant::LocalClock),
        ("r11", Mutant::LateStamp),
        ("r8", Mutant::TrustFirstTier),
        ("r2", Mutant::BumpBeforeCommit),
    ];
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let (first, count) = (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(100));
    for (name, mutant) in ms {
        if m.as_deref() == Some("mutants") {
            if name == "all" {
                continue;
            }
        } else if m.as_deref().unwrap_or("all") != name {
            continue;
        }
        let (mut bad, mut reads, mut hits, mut loads) = (0, 0, 0, 0);
        let start = std::time::Instant::now();
        for seed in first..first.saturating_add(count) {
            let report = simulate(Setting { seed, mutant })?;
            (reads, hits, loads) = (reads + report.reads, hits + report.hits, loads + report.loads);
            if !report.violations.is_empty() {
                bad += 1;
                eprintln!("{name} seed {seed}: {:?}", &report.violations[..1]);
                if name != "all" {
                    break;
                }
            }
        }
        eprintln!(
            "{name}: {count} seeds, {bad} bad, {reads} reads, {hits} hits, {loads} loads in {:?}",
            start.elapsed()
        );
    }
    Ok(())
}
