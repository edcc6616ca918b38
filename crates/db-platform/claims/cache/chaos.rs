//! cache-3: several processes read and write through their caches while servers, connections and processes
//! are killed, stopped, emptied and delayed. Every read is checked against what callers had been told.
//!
//! What is checked: each process writes down what it read, with the moments before and after, and what it was
//! told to be committed, with the moment after. All of it is compared when the run is over.

mod child;
mod faults;
mod history;
mod process;
mod rows;

use std::time::{Duration, Instant};

use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Proxy, Redis, until};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

pub(crate) use child::{CHILD, child};

use history::{Checked, History};
use process::Process;

/// Rows, few enough that readers and writers of all processes meet at each.
const ROWS: i64 = 24;
const PROCESSES: usize = 3;

/// What a read in the default mode promises: a value that was current at most so long ago.
const BOUND: Duration = Duration::from_secs(1);

/// What one run checks at least, and how long it takes at least.
const READS_OF_A_RUN: u64 = 200_000;
const SHORTEST: Duration = Duration::from_secs(60);

/// All that a run consists of.
pub(super) struct Scene {
    redis: Redis,
    cluster: Cluster,
    /// What leads each process to the second tier, and to the primary.
    tiers: Vec<Proxy>,
    primaries: Vec<Proxy>,
    logs: tempfile::TempDir,
}

pub(crate) fn measure(size: Size) -> Figure {
    let wanted = if size == Size::Nightly { 10_000_000 } else { READS_OF_A_RUN };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut all, mut stale_for_good, mut runs) = (Checked::default(), 0, Vec::new());
    while all.reads() < wanted {
        let seed = runs.len() as u64 + 1;
        let (checked, stale, detail) = runtime.block_on(run(seed));
        eprintln!("run {seed}: {detail}");
        stale_for_good += stale;
        all.add(checked);
        runs.push(detail);
    }
    let wrong = all.wrong() + stale_for_good;
    Figure {
        value: wrong as f64,
        unit: "stale reads and keys",
        holds: wrong == 0 && all.is_enough(),
        detail: json!({
            "reads": all.reads(), "nines": all.nines(), "with_95_percent_confidence": true,
            "commits": all.commits, "fenced_commits": all.fenced_commits,
            "stale_for_good": stale_for_good, "checked": all.detail(), "runs": runs,
        }),
    }
}

async fn run(seed: u64) -> (Checked, u64, Value) {
    let scene = Scene::start().await;
    let mut processes = Vec::new();
    for place in 0..PROCESSES {
        processes.push(Process::start(&scene, place, 0).await);
    }
    let began = Instant::now();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut made = faults::Made::default();
    while began.elapsed() < SHORTEST || reads(&processes) < READS_OF_A_RUN {
        faults::make(&scene, &mut processes, &mut random, &mut made).await;
    }
    scene.heal().await;
    for process in &mut processes {
        process.stop().await;
    }
    let mut stale = 0;
    for process in &mut processes {
        stale += process.check().await;
    }
    let stats: Vec<Value> = processes.iter().map(Process::stats).collect();
    drop(processes);
    let checked = History::read(scene.logs.path()).check(BOUND);
    let detail = json!({
        "seed": seed, "seconds": began.elapsed().as_secs(), "faults": made.detail(), "stale_for_good": stale,
        "checked": checked.detail(), "processes": stats,
    });
    (checked, stale, detail)
}

fn reads(processes: &[Process]) -> u64 {
    processes.iter().map(Process::reads).sum()
}

impl Scene {
    async fn start() -> Scene {
        let redis = Redis::start().await.unwrap();
        let cluster = Cluster::builder().standbys(1).setting("wal_level", "logical").start().await.unwrap();
        let sql = format!(
            "CREATE TABLE rows (id bigint PRIMARY KEY, version bigint NOT NULL); \
             INSERT INTO rows SELECT id, 0 FROM generate_series(1, {ROWS}) AS id"
        );
        super::run(&cluster, &sql).await;
        cluster.wait_until_caught_up(1).await.unwrap();
        let tier = || Proxy::start(("127.0.0.1", redis.port())).unwrap();
        let primary = || Proxy::start(cluster.address_of(0).unwrap()).unwrap();
        let (tiers, primaries) =
            ((0..PROCESSES).map(|_| tier()).collect(), (0..PROCESSES).map(|_| primary()).collect());
        Scene { redis, cluster, tiers, primaries, logs: tempfile::tempdir().unwrap() }
    }

    /// Ends all trouble.
    async fn heal(&self) {
        self.tiers.iter().chain(&self.primaries).for_each(Proxy::heal);
        // One that runs needs neither.
        let _ = self.redis.resume().await;
        self.redis.restart().await.unwrap();
        let _ = self.cluster.resume_replay(1).await;
        until("the standby has caught up", async || self.cluster.wait_until_caught_up(1).await.is_ok()).await;
    }
}
