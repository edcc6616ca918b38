//! A sudden crowd: 50 callers at once meet a pool with 5 warm connections, and opening another takes 150 ms.
//!
//! HikariCP's spike test. Each caller runs a statement of 2 ms, so five connections serve everyone within 20
//! ms: every connection that is opened comes too late to be of use.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::door::Door;
use crate::peers::{self, Peer, Source};
use crate::server::on_two_threads;

const WARM: usize = 5;
const CALLERS: usize = 50;
const MAX: usize = 50;
const CONNECT: Duration = Duration::from_millis(150);
/// Takes 2 ms.
const STATEMENT: &str = "SELECT pg_sleep(0.002)";

/// How long everyone takes at best, in milliseconds.
pub const IDEAL_MILLIS: f64 = 20.0;

/// What a spike came to.
#[derive(Debug, Clone, Copy)]
pub struct Spike {
    /// From the first caller's arrival to the last one's end, in milliseconds.
    pub millis: f64,
    /// Connections that the server was asked for in the end, the warm ones included.
    pub connections: u64,
}

/// Spikes on ours and on a peer in turn, each with a pool of its own.
pub fn measure(peer: Peer, runs: usize) -> Vec<(Spike, Spike)> {
    on_two_threads(async |url| {
        let mut seen = Vec::new();
        for _ in 0..runs {
            let of_ours = {
                let door = Door::before(url).await;
                let pool = peers::ours(&door.through(url), WARM, MAX).await;
                one(pool, &door).await
            };
            let door = Door::before(url).await;
            let url = door.through(url);
            let of_peer = match peer {
                Peer::Deadpool => one(peers::deadpool(&url, WARM, MAX).await, &door).await,
                Peer::Bb8 => one(peers::bb8(&url, WARM, MAX).await, &door).await,
                Peer::Sqlx => one(peers::sqlx(&url, WARM, MAX).await, &door).await,
            };
            seen.push((of_ours, of_peer));
        }
        seen
    })
}

/// Spikes on ours alone.
pub fn measure_ours(runs: usize) -> Vec<Spike> {
    on_two_threads(async |url| {
        let mut seen = Vec::new();
        for _ in 0..runs {
            let door = Door::before(url).await;
            let pool = peers::ours(&door.through(url), WARM, MAX).await;
            seen.push(one(pool, &door).await);
        }
        seen
    })
}

async fn one<S: Source>(pool: S, door: &Door) -> Spike {
    // On a machine that is busy a pool may have had to try more than once: what counts is what the crowd
    // adds.
    let before = door.came();
    door.delay(CONNECT);
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let pool = pool.clone();
        callers.spawn(async move {
            let mut conn = pool.take().await.unwrap();
            S::run(&mut conn, STATEMENT).await;
        });
    }
    callers.join_all().await;
    let millis = started.elapsed().as_secs_f64() * 1e3;
    drop(pool);
    // What is still being opened must not fall on the next one.
    door.emptied().await;
    Spike { millis, connections: WARM as u64 + door.came() - before }
}
