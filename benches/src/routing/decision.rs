//! What the choice of a node costs: a connection through the router, against one from the same node's pool.

use std::sync::Arc;
use std::time::Duration;

use db_core::{Acquire, Observe};
use db_platform::replica_routing::{Freshness, NodeConfig, Purpose, Router, RouterConfig, Signals, Token};
use db_platform::{DatabaseUrl, Endpoint};
use db_pool::{Pool, PoolConfig};
use db_testkit::Cluster;

use crate::pairs::{Compared, Took, compare};
use crate::peers::connector;
use crate::routing::urls;
use crate::server::one_thread;
use crate::tap::Sum;

const STANDBYS: usize = 2;

/// What one get and return takes through the router, in nanoseconds, and what from the pool that it leads to.
#[derive(Debug)]
pub struct Costs {
    /// Of an ordinary read.
    pub reader: Compared,
    /// Of a read with a token that both standbys have replayed.
    pub token: Compared,
    /// Of a write.
    pub writer: Compared,
}

/// Measures them on a primary with two standbys.
pub fn measure(pairs: usize) -> Costs {
    one_thread().block_on(async {
        let cluster = Cluster::builder().standbys(STANDBYS).start().await.unwrap();
        let router = open(&urls(&cluster, 1 + STANDBYS));
        router.settle(Duration::from_secs(10)).await;
        let pools = router.sources(|_, pool| pool.clone());
        let [primary, standby, ..] = pools.as_slice() else { panic!("each node has a pool") };
        let token = Token::read(&router.writer().acquire().await.unwrap()).await.unwrap().unwrap();
        db_testkit::until("both standbys are known to have replayed the token", async || {
            let nodes = router.topology().nodes;
            nodes.iter().filter(|node| node.lag_bytes == Some(0)).count() == STANDBYS
        })
        .await;

        let through = async |freshness| {
            compare(
                pairs,
                async || repeated(async || drop(router.reader(freshness).acquire().await.unwrap())).await,
                async || repeated(async || drop(standby.acquire().await.unwrap())).await,
            )
            .await
        };
        let (reader, token) = (through(Freshness::Default).await, through(Freshness::AtLeast(token)).await);
        let reads = router.topology().reads;
        assert_eq!(reads.by_standbys(), reads.total(), "a read that falls back costs something else");
        let writer = compare(
            pairs,
            async || repeated(async || drop(router.writer().acquire().await.unwrap())).await,
            async || repeated(async || drop(primary.acquire().await.unwrap())).await,
        )
        .await;
        Costs { reader, token, writer }
    })
}

fn open(urls: &[String]) -> Router<Pool> {
    let signals = Signals::default();
    let watch = connector(&urls[0], true);
    let observers: [Arc<dyn Observe>; 2] = [Arc::new(Sum::default()), Arc::new(signals.clone())];
    let connector = watch.clone().observed_by(observers);
    let config = PoolConfig { min: 2, ..PoolConfig::default() };
    assert!(config.leak_threshold.is_some(), "leak tracking is part of what is measured");
    let open = move |endpoint: &Endpoint, _: Purpose| {
        Pool::open(connector.clone(), endpoint.clone(), config.clone())
    };
    let nodes = urls.iter().map(|url| NodeConfig::from(endpoint(url)));
    Router::start(nodes, open, move |_| watch.clone(), RouterConfig::default(), signals)
}

fn endpoint(url: &str) -> Endpoint {
    url.parse::<DatabaseUrl>().unwrap().hosts()[0].clone()
}

async fn repeated(once: impl AsyncFn()) -> Took {
    const ROUNDS: u32 = 2_000;
    // The monitors run between two measurements.
    tokio::task::yield_now().await;
    let rounds = tokio::task::unconstrained(async {
        for _ in 0..ROUNDS {
            once().await;
        }
    });
    Took::of(ROUNDS, rounds).await
}
