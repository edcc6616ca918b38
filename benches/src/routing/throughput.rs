//! Reads a second with one, two and three standbys, when more callers want to read than there are
//! connections.
//!
//! On one machine more servers have no more processors, so the read occupies only a connection: it sleeps for
//! 5 ms. What is measured is whether every connection of every standby is kept busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use db_testkit::Cluster;
use tokio::task::JoinSet;

use crate::pairs::Took;
use crate::routing::reads::{Reads, RoundRobin, TAKES};
use crate::routing::{ours, urls};
use crate::server::two_threads;

/// The most standbys.
pub const MOST: usize = 3;

const CONNECTIONS: usize = 4;
const READ_TAKES: f64 = 0.005;
/// How many callers there are, for each standby.
const CALLERS: u32 = 16;
/// How many reads one measurement has, for each standby.
const READS: u32 = 160;

/// What each standby answers at best, in reads a second.
pub const IDEAL: f64 = CONNECTIONS as f64 / READ_TAKES;

/// Reads a second with one standby, with two and with three, all measured one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Round {
    /// Ours.
    pub ours: [f64; MOST],
    /// Deadpools that take turns.
    pub peer: [f64; MOST],
}

/// Measures so many rounds, after a tenth of them to warm up.
pub fn measure(rounds: usize) -> Vec<Round> {
    two_threads().block_on(async {
        let cluster = Cluster::builder().standbys(MOST).setting(TAKES, READ_TAKES.to_string());
        let cluster = cluster.start().await.unwrap();
        let urls = urls(&cluster, 1 + MOST);
        let (mut by_ours, mut by_peer) = (Vec::new(), Vec::new());
        for standbys in 1..=MOST {
            by_ours.push(ours(&urls[..=standbys], CONNECTIONS).await);
            by_peer.push(RoundRobin::over(&urls[1..=standbys], CONNECTIONS).await);
        }
        let warm_up = rounds.div_ceil(10);
        let mut seen = Vec::new();
        for number in 0..warm_up + rounds {
            let mut round = Round::default();
            for at in 0..MOST {
                let nodes = u32::try_from(at + 1).unwrap();
                if number % 2 == 0 {
                    round.ours[at] = reads_a_second(&by_ours[at], nodes).await;
                    round.peer[at] = reads_a_second(&by_peer[at], nodes).await;
                } else {
                    round.peer[at] = reads_a_second(&by_peer[at], nodes).await;
                    round.ours[at] = reads_a_second(&by_ours[at], nodes).await;
                }
            }
            seen.push(round);
        }
        seen.split_off(warm_up)
    })
}

async fn reads_a_second(reads: &impl Reads, nodes: u32) -> f64 {
    let left = Arc::new(AtomicU32::new(READS * nodes));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS * nodes {
        let (reads, left) = (reads.clone(), Arc::clone(&left));
        callers.spawn(async move {
            let take = |left: u32| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                reads.once().await;
            }
        });
    }
    let took = Took::of(READS * nodes, async { drop(callers.join_all().await) }).await;
    1e9 / took.nanos
}
