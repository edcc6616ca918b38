//! backup-5: stores on bad days. What was acknowledged is there, what failed said so in time, and liars are
//! refused.
//!
//! It fails without the look at what is there after a put that was refused because of itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_backup::simulation::{FaultStore, Faults};
use db_backup::{
    BackupError, Compression, Keys, Limits, Protection, Repository, Segment, Store, VerifyOptions, WalName,
};
use db_testkit::claims::{Figure, Size};
use object_store::memory::InMemory;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::full_disk::full_disk;
use crate::world::{SYSTEM, content, segment, some_bytes, try_take};

const DEADLINE: Duration = Duration::from_secs(3);
/// What an operation may take beyond its deadline, and what is done besides the store's work.
const SLACK: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Seen {
    lost: u64,
    late: u64,
    wrong_errors: Vec<String>,
    failed_in_time: u64,
    acknowledged: u64,
    faults: u64,
}

pub(crate) fn measure(size: Size) -> Figure {
    crate::runtime().block_on(async {
        let days = if size == Size::Nightly { 2_000 } else { 60 };
        let mut seen = Seen::default();
        for seed in 0..days {
            a_bad_day(seed, &mut seen).await;
        }
        let believed = liars_believed().await;
        let (full, skipped) = match full_disk().await {
            Some(full) => (full, None),
            None => (Default::default(), Some("a full disk: this account may not mount a file system")),
        };
        let wrong = seen.wrong_errors.len() + full.problems.len();
        Figure {
            value: (seen.lost + seen.late + believed) as f64 + wrong as f64,
            unit: "losses, late answers, wrong errors and liars believed",
            holds: seen.lost + seen.late + believed == 0 && wrong == 0 && seen.faults > days,
            detail: json!({
                "days": days, "faults": seen.faults, "acknowledged": seen.acknowledged, "lost": seen.lost,
                "failed_in_time": seen.failed_in_time, "late": seen.late, "wrong_errors": seen.wrong_errors,
                "liars_believed": believed, "full_disk": full.detail, "full_disk_problems": full.problems,
                "skipped": skipped,
            }),
        }
    })
}

/// Segments are archived until each is acknowledged, and backups are taken, on a store with faults.
async fn a_bad_day(seed: u64, seen: &mut Seen) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut rate = |most: u16| random.random_range(0..=most);
    let faults = Faults {
        before: rate(200),
        after: rate(200),
        hangs: rate(20),
        cut: rate(100),
        flips: rate(20),
        throttles: rate(300),
        ..Faults::NONE
    };
    let inner = Arc::new(InMemory::new());
    let keys = Keys::generate();
    let sound = Store::new(Arc::clone(&inner) as Arc<_>, "", "memory").unwrap();
    let (repository, _) = Repository::init(sound.clone(), &keys, Protection::Encrypted).await.unwrap();
    let faulty = FaultStore::new(inner as Arc<_>, seed, faults);
    let counts = faulty.counts();
    let limits =
        Limits { attempt: Duration::from_millis(100), deadline: DEADLINE, pause: Duration::from_millis(1) };
    let store = Store::new(Arc::new(faulty), "", "memory").unwrap().with_limits(limits);
    // A writer's key, because opening reads: that is measured by what follows as well.
    let cluster = match Repository::open(store, &keys).await {
        Ok(repository) => repository.cluster(SYSTEM),
        Err(error) => return seen.wrong(&error),
    };
    let mut published = Vec::new();
    for number in 2..8 {
        let name = Segment { timeline: 1, log: 0, number };
        // The archiver tries again for ever, as the server does; never more than some minutes here.
        for _ in 0..50 {
            let began = Instant::now();
            let put =
                cluster.put_wal(WalName::Segment(name), segment(name, SYSTEM, seed), Compression::None).await;
            seen.timed(began);
            match put {
                Ok(_) => break,
                Err(error) => seen.wrong(&error),
            }
        }
        seen.acknowledged += 1;
    }
    match try_take(&cluster, &[("a", some_bytes(seed, 2 << 20))], None).await {
        Ok(summary) => published.push(summary),
        Err(error) => seen.wrong(&error),
    }
    let cluster = repository.cluster(SYSTEM);
    for number in 2..8 {
        let name = Segment { timeline: 1, log: 0, number };
        let there = cluster.get_wal(WalName::Segment(name)).await.unwrap();
        seen.lost += u64::from(there != Some(segment(name, SYSTEM, seed)));
    }
    for summary in published {
        let read = content(&cluster, &summary).await;
        seen.lost += u64::from(!read.is_ok_and(|read| read[0].1 == some_bytes(seed, 2 << 20)));
    }
    seen.lost += u64::from(!cluster.verify(VerifyOptions::default()).await.unwrap().holds());
    seen.faults += counts.faults();
}

impl Seen {
    fn timed(&mut self, began: Instant) {
        // An archive of one segment is at most three operations of the store.
        self.late += u64::from(began.elapsed() > DEADLINE * 3 + SLACK);
    }

    /// An error is right if the same may succeed later.
    fn wrong(&mut self, error: &BackupError) {
        if error.is_temporary() {
            self.failed_in_time += 1;
        } else {
            self.wrong_errors.push(error.to_string());
        }
    }
}

/// How many stores that lie about conditional puts were taken for honest.
async fn liars_believed() -> u64 {
    let lies = [
        Faults { overwrites: true, ..Faults::NONE },
        Faults { races: true, ..Faults::NONE },
        Faults { late_lists: 1_000, ..Faults::NONE },
    ];
    let mut believed = 0;
    for faults in lies {
        let liar = FaultStore::new(Arc::new(InMemory::new()), 1, faults);
        let store = Store::new(Arc::new(liar), "", "memory").unwrap();
        let made = Repository::init(store, &Keys::generate(), Protection::Encrypted).await;
        believed += u64::from(!matches!(made, Err(BackupError::Unsuitable { .. })));
    }
    believed
}
