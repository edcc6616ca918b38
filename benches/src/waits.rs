//! How long each of 64 tasks waits for one of 4 connections: what is fair, and what is not.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::pairs::median;
use crate::peers::{self, Peer, Source};
use crate::server::on_two_threads;

const CONNECTIONS: usize = 4;
const TASKS: usize = 64;
/// How often each task gets a connection in one run.
const ROUNDS: usize = 12;
/// How long it holds it: what a statement takes.
const HOLD: Duration = Duration::from_millis(1);

/// What the tasks of one pool waited: for each figure the median of the runs, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Half of all waits were no longer.
    pub median: f64,
    /// All but one in a hundred were no longer.
    pub p99: f64,
    /// None was longer.
    pub max: f64,
    /// The longest wait over the median one.
    pub spread: f64,
    /// The same in the worst run.
    pub worst_spread: f64,
}

/// What the tasks wait with ours, and with a peer, in so many runs in turn.
pub fn measure(peer: Peer, runs: usize) -> (Waits, Waits) {
    on_two_threads(async |url| {
        let ours = peers::ours(url, CONNECTIONS, CONNECTIONS).await;
        match peer {
            Peer::Deadpool => with(&ours, &peers::deadpool(url, CONNECTIONS, CONNECTIONS).await, runs).await,
            Peer::Bb8 => with(&ours, &peers::bb8(url, CONNECTIONS, CONNECTIONS).await, runs).await,
            Peer::Sqlx => with(&ours, &peers::sqlx(url, CONNECTIONS, CONNECTIONS).await, runs).await,
        }
    })
}

async fn with(ours: &impl Source, peer: &impl Source, runs: usize) -> (Waits, Waits) {
    let (mut of_ours, mut of_peer) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        of_ours.push(one_run(ours).await);
        of_peer.push(one_run(peer).await);
    }
    (Waits::of(&of_ours), Waits::of(&of_peer))
}

async fn one_run<S: Source>(pool: &S) -> Histogram<u64> {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut waits = Vec::with_capacity(ROUNDS);
            for _ in 0..ROUNDS {
                let started = Instant::now();
                let conn = pool.take().await.unwrap();
                waits.push(started.elapsed());
                tokio::time::sleep(HOLD).await;
                drop(conn);
            }
            waits
        });
    }
    let mut all = Histogram::<u64>::new(3).unwrap();
    for wait in tasks.join_all().await.into_iter().flatten() {
        all.record(u64::try_from(wait.as_nanos()).unwrap()).unwrap();
    }
    all
}

impl Waits {
    fn of(runs: &[Histogram<u64>]) -> Self {
        let over = |figure: &dyn Fn(&Histogram<u64>) -> f64| median(runs.iter().map(figure).collect()).0;
        let spread = |waits: &Histogram<u64>| waits.max() as f64 / waits.value_at_quantile(0.5) as f64;
        Waits {
            median: over(&|waits| waits.value_at_quantile(0.5) as f64 / 1e3),
            p99: over(&|waits| waits.value_at_quantile(0.99) as f64 / 1e3),
            max: over(&|waits| waits.max() as f64 / 1e3),
            spread: over(&spread),
            worst_spread: runs.iter().map(spread).fold(0.0, f64::max),
        }
    }
}
