//! One of three standbys answers ten times slower than the others: what that does to callers.

use std::time::{Duration, Instant};

use db_testkit::Cluster;
use tokio::task::JoinSet;

use crate::routing::reads::{Reads, RoundRobin, TAKES};
use crate::routing::{SLICE, ours, slices, urls};
use crate::server::two_threads;

const STANDBYS: usize = 3;
const CONNECTIONS: usize = 4;
/// As many as the two good standbys have connections.
const CALLERS: usize = 8;
const READ_TAKES: &str = "0.005";
const SLOW_READ_TAKES: &str = "0.05";
const WARM_UP: Duration = Duration::from_secs(3);

/// How callers were served in one second.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// All but one in a hundred of the reads were no longer, in milliseconds.
    pub p99_millis: f64,
    /// Reads.
    pub reads_per_second: f64,
}

/// Measures so many seconds, ours and deadpools that take turns at the same time: the reads only sleep.
pub fn measure(seconds: usize) -> Vec<(Served, Served)> {
    two_threads().block_on(async {
        let cluster = Cluster::builder().standbys(STANDBYS).setting(TAKES, READ_TAKES).setting_of(
            STANDBYS,
            TAKES,
            SLOW_READ_TAKES,
        );
        let cluster = cluster.start().await.unwrap();
        let urls = urls(&cluster, 1 + STANDBYS);
        let (ours, peer) = (ours(&urls, CONNECTIONS).await, RoundRobin::over(&urls[1..], CONNECTIONS).await);
        let start = Instant::now() + WARM_UP;
        let end = start + SLICE * u32::try_from(seconds).unwrap();
        let (ours, peer) = tokio::join!(until(end, &ours), until(end, &peer));
        let served = |seen: &[(Instant, Duration)]| slices(seen, start, seconds).into_iter().map(Served::of);
        served(&ours).zip(served(&peer)).collect()
    })
}

/// When each read ended, and how long it took.
async fn until(end: Instant, reads: &impl Reads) -> Vec<(Instant, Duration)> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let reads = reads.clone();
        callers.spawn(async move {
            let mut seen = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                reads.once().await;
                seen.push((Instant::now(), started.elapsed()));
            }
            seen
        });
    }
    callers.join_all().await.concat()
}

impl Served {
    fn of(mut reads: Vec<Duration>) -> Self {
        reads.sort_unstable();
        let p99 = reads[(reads.len() * 99).div_ceil(100) - 1];
        Served {
            p99_millis: p99.as_secs_f64() * 1e3,
            reads_per_second: reads.len() as f64 / SLICE.as_secs_f64(),
        }
    }
}
