//! cache-9: the deterministic simulation. The CI size is the full size: 10,000 seeds, and 18 mutants in up to
//! 1,000 each.
//!
//! It fails without any of the guards that `Mutant` names: that is what the mutants show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_cache::Mutant;
use db_cache::simulation::{Report, Setting, simulate};
use db_testkit::claims::{Figure, Size};
use serde_json::json;

const SEEDS: u64 = 10_000;
const SEEDS_OF_A_MUTANT: u64 = 1_000;
const LONGEST: Duration = Duration::from_secs(600);

const MUTANTS: [Mutant; 18] = [
    Mutant::IgnoreStamps,
    Mutant::BumpBeforeCommit,
    Mutant::BumpOnRollback,
    Mutant::NoMark,
    Mutant::UnknownIsRollback,
    Mutant::IgnoreFloor,
    Mutant::NoFeedLease,
    Mutant::TrustFirstTier,
    Mutant::IgnoreDoubt,
    Mutant::LocalClock,
    Mutant::LateStamp,
    Mutant::IgnoreRun,
    Mutant::SlotsBySchema,
    Mutant::ServeInvalidated,
    Mutant::KeepEpoch,
    Mutant::IgnoreTimeline,
    Mutant::RelayedLate,
    Mutant::ResurrectMarker,
];

fn run(seed: u64, mutant: Mutant) -> Report {
    simulate(Setting { seed, mutant }).unwrap()
}

pub(crate) fn measure(_: Size) -> Figure {
    let began = Instant::now();
    let (next, reads, hits, commits) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let broken: Vec<u64> = std::thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(|| half(&next, &reads, &hits, &commits)));
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let took = began.elapsed();
    let replayed = (0..20).filter(|seed| run(*seed, Mutant::None) == run(*seed, Mutant::None)).count();
    let caught = MUTANTS.iter().filter_map(|mutant| {
        let seed = (0..SEEDS_OF_A_MUTANT).find(|seed| !run(*seed, *mutant).violations.is_empty());
        seed.map(|seed| (format!("{mutant:?}"), seed))
    });
    let caught: Vec<(String, u64)> = caught.collect();
    Figure {
        value: broken.len() as f64,
        unit: "seeds with a broken promise",
        holds: broken.is_empty() && took <= LONGEST && replayed == 20 && caught.len() == MUTANTS.len(),
        detail: json!({
            "seeds": SEEDS, "broken": broken, "seconds": took.as_secs(), "replayed": replayed,
            "reads": reads.into_inner(), "hits": hits.into_inner(), "commits": commits.into_inner(),
            "mutants_caught": caught.len(), "mutants": MUTANTS.len(), "caught_by_seed": caught,
        }),
    }
}

fn half(next: &AtomicU64, reads: &AtomicU64, hits: &AtomicU64, commits: &AtomicU64) -> Vec<u64> {
    let mut broken = Vec::new();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= SEEDS {
            return broken;
        }
        let report = run(seed, Mutant::None);
        reads.fetch_add(report.reads, Ordering::Relaxed);
        hits.fetch_add(report.hits, Ordering::Relaxed);
        commits.fetch_add(report.commits, Ordering::Relaxed);
        if !report.violations.is_empty() {
            broken.push(seed);
        }
    }
}
