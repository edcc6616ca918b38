//! Getting a connection and giving it back, with nothing done in between.

use crate::pairs::{Compared, Took, compare};
use crate::peers::{self, Peer, Source};
use crate::server::{on_one_thread, on_two_threads};

const CONNECTIONS: usize = 4;
const TASKS: usize = 64;

/// One task alone, in nanoseconds for one get and return.
pub fn alone(peer: Peer, pairs: usize) -> Compared {
    on_one_thread(async |url| {
        let ours = peers::ours(url, CONNECTIONS, CONNECTIONS).await;
        match peer {
            Peer::Deadpool => {
                alone_with(&ours, &peers::deadpool(url, CONNECTIONS, CONNECTIONS).await, pairs).await
            }
            Peer::Bb8 => alone_with(&ours, &peers::bb8(url, CONNECTIONS, CONNECTIONS).await, pairs).await,
            Peer::Sqlx => alone_with(&ours, &peers::sqlx(url, CONNECTIONS, CONNECTIONS).await, pairs).await,
        }
    })
}

async fn alone_with(ours: &impl Source, peer: &impl Source, pairs: usize) -> Compared {
    compare(pairs, async || one_by_one(ours).await, async || one_by_one(peer).await).await
}

async fn one_by_one(pool: &impl Source) -> Took {
    const ROUNDS: u32 = 2_000;
    // tokio makes a task that never waits pause now and then: that is not the pool's doing.
    let rounds = tokio::task::unconstrained(async {
        for _ in 0..ROUNDS {
            drop(pool.take().await.unwrap());
        }
    });
    Took::of(ROUNDS, rounds).await
}

/// 64 tasks on 4 connections, each letting the others run once while it holds one; in nanoseconds for one get
/// and return.
pub fn crowded(peer: Peer, pairs: usize) -> Compared {
    on_two_threads(async |url| {
        let ours = peers::ours(url, CONNECTIONS, CONNECTIONS).await;
        match peer {
            Peer::Deadpool => {
                crowded_with(&ours, &peers::deadpool(url, CONNECTIONS, CONNECTIONS).await, pairs).await
            }
            Peer::Bb8 => crowded_with(&ours, &peers::bb8(url, CONNECTIONS, CONNECTIONS).await, pairs).await,
            Peer::Sqlx => crowded_with(&ours, &peers::sqlx(url, CONNECTIONS, CONNECTIONS).await, pairs).await,
        }
    })
}

async fn crowded_with(ours: &impl Source, peer: &impl Source, pairs: usize) -> Compared {
    compare(pairs, async || in_a_crowd(ours).await, async || in_a_crowd(peer).await).await
}

async fn in_a_crowd<S: Source>(pool: &S) -> Took {
    const ROUNDS: u32 = 100;
    let operations = ROUNDS * u32::try_from(TASKS).unwrap();
    Took::of(operations, async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..TASKS {
            let pool = pool.clone();
            tasks.spawn(async move {
                for _ in 0..ROUNDS {
                    let conn = pool.take().await.unwrap();
                    tokio::task::yield_now().await;
                    drop(conn);
                }
            });
        }
        tasks.join_all().await;
    })
    .await
}
