//! Ours and what applications write by hand, over the same real clusters: reads on standbys, and writes
//! across a failover.

pub mod decision;
pub mod failover;
pub mod slow_standby;
pub mod throughput;
pub mod tokens;

mod reads;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use db_core::Environment;
use db_platform::{Config, Db};
use db_testkit::Cluster;

/// How long a slice is of what goes on without a break.
const SLICE: Duration = Duration::from_secs(1);

/// The servers of a cluster: the first begins as the primary.
fn urls(cluster: &Cluster, servers: usize) -> Vec<String> {
    (0..servers).map(|server| cluster.url_of(server).unwrap()).collect()
}

/// Ours over these servers, with so many connections to each, all of them open. The first takes writes.
async fn ours(urls: &[String], connections: usize) -> Db {
    let mut config = Config::new(Environment::Production, urls[0].parse().unwrap());
    config.read_urls = urls[1..].iter().map(|url| url.parse().unwrap()).collect();
    for pool in [&mut config.pool, &mut config.read_pool] {
        (pool.min, pool.max) = (connections, NonZeroUsize::new(connections).unwrap());
    }
    let db = Db::connect(config).await.unwrap();
    db_testkit::until("every pool has opened its connections", async || {
        db.pools().iter().all(|pool| pool.idle >= connections)
    })
    .await;
    db
}

/// What ended in each second from `start` on.
fn slices<T: Copy>(seen: &[(Instant, T)], start: Instant, slices: usize) -> Vec<Vec<T>> {
    let mut sliced = vec![Vec::new(); slices];
    for (at, what) in seen {
        let slice = at.checked_duration_since(start).map(|since| since.as_secs() / SLICE.as_secs());
        if let Some(slice) = slice.and_then(|slice| sliced.get_mut(usize::try_from(slice).unwrap())) {
            slice.push(*what);
        }
    }
    sliced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_outside_of_all_slices_is_left_out() {
        let (before, start) = (Instant::now(), Instant::now() + SLICE);
        let seen =
            [(before, 1), (start, 2), (start + SLICE / 2, 3), (start + SLICE, 4), (start + SLICE * 2, 5)];
        assert_eq!(slices(&seen, start, 2), [vec![2, 3], vec![4]]);
    }
}
