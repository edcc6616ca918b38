//! routing-8: what the choice of a node costs on top of the pool.

use std::time::{Duration, Instant};

use db_platform::core::Acquire;
use db_platform::pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_platform::replica_routing::{NodeConfig, Purpose, Router, RouterConfig, Signals};
use db_platform::{DatabaseUrl, Freshness};
use db_testkit::Cluster;
use serde_json::json;

use crate::routing::{block_on, endpoint, urls};
use crate::{Figure, Size};

const PAIRS: usize = 31;
const RUNS: usize = 3;
const LIMIT_NS: f64 = 300.0;

pub(crate) fn measure(size: Size) -> Figure {
    let acquires = if size == Size::Nightly { 100_000 } else { 20_000 };
    let runs: Vec<_> = (0..RUNS).map(|_| block_on(run(acquires))).collect();
    let best = runs.iter().map(|run| run[1] - run[0]).fold(f64::INFINITY, f64::min);
    Figure {
        value: best,
        unit: "ns on top of the pool, best of three medians",
        holds: best <= LIMIT_NS,
        detail: json!({ "pool_and_router_ns": runs }),
    }
}

/// The medians of getting and giving back a connection: from the pool, and through the router.
async fn run(acquires: u32) -> [f64; 2] {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let urls = urls(&cluster, 3);
    let url: DatabaseUrl = urls[0].parse().unwrap();
    let connector = Connector::new(url, ConnectConfig::default());
    let nodes = urls.iter().map(|url| NodeConfig::from(endpoint(url)));
    let (pools, own) = (connector.clone(), connector.clone());
    let pool = PoolConfig { min: 2, ..PoolConfig::default() };
    let open = {
        let pool = pool.clone();
        move |endpoint: &_, _: Purpose| Pool::open(pools.clone(), Clone::clone(endpoint), pool.clone())
    };
    let router =
        Router::start(nodes, open, move |_| own.clone(), RouterConfig::default(), Signals::default());
    router.settle(Duration::from_secs(10)).await;
    let plain = Pool::open(connector, endpoint(&urls[1]), pool);
    let (mut by_pool, mut by_router) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let started = Instant::now();
        for _ in 0..acquires {
            drop(plain.acquire().await.unwrap());
        }
        by_pool.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(acquires));
        let started = Instant::now();
        for _ in 0..acquires {
            drop(router.reader(Freshness::Default).acquire().await.unwrap());
        }
        by_router.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(acquires));
    }
    [median(&mut by_pool), median(&mut by_router)]
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
