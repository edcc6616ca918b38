//! A server that is down: how often it is asked whether it is back.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::door::Door;
use crate::peers::{self, Peer, Source};
use crate::server::on_two_threads;

const CALLERS: usize = 10;
const MAX: usize = 10;

/// Attempts to connect a second while 10 callers ask for a connection again and again: ours, and a peer's.
pub fn measure(peer: Peer, for_time: Duration) -> (f64, f64) {
    on_two_threads(async |url| {
        let door = Door::before(url).await;
        door.shut();
        let url = door.through(url);
        let of_ours = attempts(&peers::ours(&url, 0, MAX).await, &door, for_time).await;
        let of_peer = match peer {
            Peer::Deadpool => attempts(&peers::deadpool(&url, 0, MAX).await, &door, for_time).await,
            Peer::Bb8 => attempts(&peers::bb8(&url, 0, MAX).await, &door, for_time).await,
            Peer::Sqlx => attempts(&peers::sqlx(&url, 0, MAX).await, &door, for_time).await,
        };
        (of_ours, of_peer)
    })
}

async fn attempts<S: Source>(pool: &S, door: &Door, for_time: Duration) -> f64 {
    let (before, started) = (door.came(), Instant::now());
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let pool = pool.clone();
        callers.spawn(async move {
            while started.elapsed() < for_time {
                let got = tokio::time::timeout(for_time.saturating_sub(started.elapsed()), pool.take()).await;
                assert!(!matches!(got, Ok(Some(_))), "nobody gets a connection to a server that is down");
            }
        });
    }
    callers.join_all().await;
    (door.came() - before) as f64 / started.elapsed().as_secs_f64()
}
