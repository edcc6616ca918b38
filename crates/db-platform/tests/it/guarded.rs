//! A pool behind a breaker: what callers see while the server is gone, and when it is back.

use std::sync::Arc;
use std::time::Instant;

use db_platform::core::Acquire;
use db_platform::pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_platform::replica_routing::{Purpose, Router, RouterConfig, Signals};
use db_platform::retry::{BreakerConfig, BreakerState, Guarded, Retry, RetryConfig};
use db_platform::{Begin, Class, Classify, DatabaseUrl, Endpoint, Error, Freshness};
use db_testkit::{Stop, until};
use diesel_async::SimpleAsyncConnection;
use futures_util::TryStreamExt;
use tokio::sync::Barrier;

use super::*;

async fn select(guarded: &Guarded<Pool>, retry: &Retry) -> Result<(), Error> {
    retry.read(guarded, async |conn| Ok::<_, Error>(conn.batch_execute("SELECT 1").await?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_behind_a_breaker_fails_at_once_and_serves_again_soon() {
    let cluster = Cluster::builder().start().await.unwrap();
    let url: DatabaseUrl = cluster.primary_url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let config = PoolConfig { acquire_timeout: Some(Duration::from_millis(500)), ..PoolConfig::default() };
    let pool = Pool::open(Connector::new(url, ConnectConfig::default()), endpoint.clone(), config);
    let guarded = Guarded::new(pool, BreakerConfig::default());
    assert_eq!(guarded.endpoint(), Some(&endpoint));
    let once = Retry::new(RetryConfig::never());
    until("the pool has logged in", async || select(&guarded, &once).await.is_ok()).await;

    cluster.stop(0, Stop::Immediate).await.unwrap();
    let (mut calls, together) = (tokio::task::JoinSet::new(), Arc::new(Barrier::new(20)));
    for _ in 0..20 {
        let (guarded, once, together) = (guarded.clone(), once.clone(), Arc::clone(&together));
        calls.spawn(async move {
            together.wait().await;
            select(&guarded, &once).await.unwrap_err().class()
        });
    }
    assert!(calls.join_all().await.iter().all(|class| *class == Class::Unavailable));
    assert_ne!(guarded.status().state, BreakerState::Closed);
    let started = Instant::now();
    for _ in 0..100 {
        let error = select(&guarded, &Retry::default()).await.unwrap_err();
        assert!(matches!(error, Error::CircuitOpen(_)), "{error}");
    }
    assert!(started.elapsed() < Duration::from_millis(500), "{:?} for a hundred calls", started.elapsed());

    cluster.start(0).await.unwrap();
    until("calls are served again", async || select(&guarded, &once).await.is_ok()).await;

    assert_eq!(guarded.status().opened, 1);
}

/// The whole stack: a router over pools, each behind a breaker of its own.
#[tokio::test]
async fn a_router_over_guarded_pools_goes_on_when_a_standby_dies() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let urls = [cluster.primary_url(), cluster.standby_urls().remove(0)];
    let urls: Vec<DatabaseUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
    let [primary, standby] = [0, 1].map(|node| urls[node].hosts()[0].clone());
    let connector = move |endpoint: &Endpoint| {
        let url = urls.iter().find(|url| url.hosts()[0] == *endpoint).unwrap();
        Connector::new(url.clone(), ConnectConfig::default())
    };
    let connect = connector.clone();
    let open = move |endpoint: &Endpoint, _: Purpose| {
        let config = PoolConfig { acquire_timeout: Some(Duration::from_secs(2)), ..PoolConfig::default() };
        let pool = Pool::open(connect(endpoint), endpoint.clone(), config);
        Guarded::new(pool, BreakerConfig::default())
    };
    let nodes = [primary.clone(), standby.clone()];
    let router = Router::start(nodes, open, connector, RouterConfig::default(), Signals::default());
    router.settle(Duration::from_secs(10)).await;
    let retry = Retry::default();
    let reader = router.reader(Freshness::Any);
    let ask = async || retry.read(&reader, async |conn| port(conn).await).await;
    assert_eq!(ask().await.unwrap(), standby.port().to_string());
    let writer = router.writer();
    let written = retry.transaction(&writer, Begin::default(), &(), async |conn| {
        Ok::<_, Error>(conn.batch_execute("CREATE TABLE written (n int)").await?)
    });
    written.await.unwrap();
    cluster.kill(1).await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask().await.unwrap(), primary.port().to_string());
    }
}

/// Without a breaker each call would wait for as long as a failover may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_turns_calls_away_at_once_where_that_is_asked_for() {
    const WAIT: Duration = Duration::from_secs(2);
    let cluster = Cluster::builder().start().await.unwrap();
    let proxy = db_testkit::Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let mut settings = config(&cluster);
    settings.url = proxy.through(&cluster.primary_url()).unwrap().parse().unwrap();
    settings.router.writer_wait = WAIT;
    assert!(Db::connect(settings.clone()).await.unwrap().breakers().is_empty(), "off by default");
    settings.breaker =
        Some(BreakerConfig { min_calls: std::num::NonZeroU32::MIN, ..BreakerConfig::default() });
    let db = Db::connect(settings).await.unwrap();
    let write = async || {
        db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("SELECT pg_current_xact_id()").await?))
            .await
    };
    let read = async || db.read(async |conn| conn.batch_execute("SELECT 1").await).await;
    let select = async || {
        let one = diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"));
        db.stream::<i32>(one, 10).try_next().await.map(|_| ())
    };
    write().await.unwrap();
    read().await.unwrap();

    proxy.refuse();
    proxy.cut();
    let is_turned_away = |called: Result<(), Error>| matches!(called, Err(Error::CircuitOpen(_)));
    until("writes are turned away", async || is_turned_away(write().await)).await;
    until("reads are turned away", async || is_turned_away(read().await)).await;
    let started = Instant::now();
    for _ in 0..20 {
        assert!(
            is_turned_away(write().await) && is_turned_away(read().await) && is_turned_away(select().await)
        );
        assert!(is_turned_away(db.primary().await.map(|_| ())));
    }
    assert!(started.elapsed() < WAIT, "{:?} for eighty calls", started.elapsed());
    let states: Vec<_> = db.breakers().into_iter().map(|breaker| breaker.state).collect();
    assert!(!states.contains(&BreakerState::Closed), "{states:?}");

    proxy.heal();
    until("writes are served again", async || write().await.is_ok()).await;
    until("reads are served again", async || read().await.is_ok() && select().await.is_ok()).await;
    until("both have closed", async || {
        db.breakers().iter().all(|breaker| breaker.state == BreakerState::Closed && breaker.opened > 0)
    })
    .await;
}
