//! backup-4: random corruptions of a repository's objects, each noticed by verification and by reading, and
//! each kind of them by a rehearsal.
//!
//! It fails without the receipts, from which a manifest that vanished is known.

use db_backup::{Finding, Protection};
use db_testkit::claims::{Figure, Size};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;

use crate::rehearsals::rehearsed;
use crate::spoil::{Spoiled, filled};
use crate::world::{SYSTEM, archive};

/// How long a gap may go unnoticed once somebody looks.
const GAP_SECONDS: f64 = 10.0;

pub(crate) fn measure(size: Size) -> Figure {
    crate::runtime().block_on(async {
        let corruptions = if size == Size::Nightly { 10_000 } else { 500 };
        let mut missed = Vec::new();
        for (protection, seed) in [(Protection::Encrypted, 41), (Protection::Authenticated, 42)] {
            let (world, backups) = filled(protection).await;
            let mut random = SmallRng::seed_from_u64(seed);
            for _ in 0..corruptions / 2 {
                let spoiled = Spoiled::of(&world, &mut random);
                if let Some(by) = spoiled.missed_by(&world, &backups).await {
                    missed.push(format!("{by}: {}", spoiled.what));
                }
                spoiled.put_back();
            }
        }
        let rehearsed = rehearsed(if size == Size::Nightly { 5 } else { 1 }).await;
        missed.extend(rehearsed.missed);
        let gap_seconds = seconds_to_a_gap().await;
        Figure {
            value: missed.len() as f64,
            unit: "corruptions missed",
            holds: missed.is_empty() && gap_seconds <= GAP_SECONDS,
            detail: json!({
                "corruptions": corruptions, "rehearsals": rehearsed.rehearsals, "missed": missed,
                "gap_found_after_seconds": gap_seconds,
            }),
        }
    })
}

/// How long it takes to find one segment missing among 250.
async fn seconds_to_a_gap() -> f64 {
    let (world, _) = filled(Protection::Encrypted).await;
    archive(&world.cluster, 6..250).await;
    let gone = format!("clusters/{SYSTEM}/wal/00000001/00000000/000000010000000000000080");
    std::fs::remove_file(world.directory.path().join(gone)).unwrap();
    let began = std::time::Instant::now();
    let gaps = world.cluster.wal_gaps().await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let found = gaps.iter().any(|gap| matches!(gap, Finding::WalMissing { from, .. } if from.number == 0x80));
    if found { seconds } else { f64::INFINITY }
}
