//! Who gets a connection, in what order, and what those hear who get none.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use db_core::{Acquire, DatabaseUrl, Error};
use db_pool::PoolConfig;
use db_testkit::{Direction, Proxy, TestDatabase, until};
use diesel_async::SimpleAsyncConnection;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::{backend, open, pool, pool_config};

#[tokio::test]
async fn a_connection_is_used_again() {
    let (_database, pool) = pool(5).await;
    let first = backend(&mut pool.get().await.unwrap()).await;
    let second = backend(&mut pool.get().await.unwrap()).await;
    assert_eq!(first, second);
    let status = pool.status();
    assert_eq!((status.open, status.idle, status.acquires, status.creates()), (1, 1, 2, 1));
}

#[tokio::test]
async fn what_is_given_at_once_waits_for_nothing_and_asks_nobody() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), pool_config(1));
    let now = || pool.acquire_now(Location::caller());
    assert!(now().is_none(), "none is open yet");
    let before = pool.status().acquires;
    drop(pool.get().await.unwrap());
    let held = now().unwrap();
    assert_eq!(pool.status().acquires, before + 2);
    assert!(now().is_none(), "it would have to wait");
    drop(held);
    pool.suspend();
    assert!(now().is_none(), "nobody gets one meanwhile");
    pool.resume();
    drop(now().unwrap());
    let asks = open(database.url(), PoolConfig { check_after: Some(Duration::ZERO), ..pool_config(1) });
    drop(asks.get().await.unwrap());
    assert!(asks.acquire_now(Location::caller()).is_none(), "its sign of life would have to be waited for");
    assert_eq!(pool.shutdown(Duration::from_secs(1)).await.abandoned, 0);
    assert!(now().is_none(), "the pool is closed");
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let (_database, pool) = pool(1).await;
    let held = pool.get().await.unwrap();
    let (order, mut callers) = (Arc::new(std::sync::Mutex::new(Vec::new())), JoinSet::new());
    for number in 0..5 {
        let (waiting, order) = (pool.clone(), Arc::clone(&order));
        callers.spawn(async move {
            let _conn = waiting.get().await.unwrap();
            order.lock().unwrap().push(number);
        });
        until("the caller waits", async || pool.status().waiting == number + 1).await;
    }
    drop(held);
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_caller_in_vain_hears_how_the_pool_stands() {
    let database = TestDatabase::empty().await.unwrap();
    let config = PoolConfig {
        min: 1,
        acquire_timeout: Some(Duration::from_millis(100)),
        max_waiters: 1,
        ..pool_config(1)
    };
    let pool = open(database.url(), config);
    until("one is open", async || pool.status().idle == 1).await;
    let held = pool.get().await.unwrap();
    let Err(Error::PoolTimeout { open, idle, max, .. }) = pool.get().await else {
        panic!("there is one connection")
    };
    assert_eq!((open, idle, max), (1, 0, 1));

    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(|_| ()) }
    });
    until("one waits", async || pool.status().waiting == 1).await;
    assert!(matches!(pool.get().await, Err(Error::QueueFull { waiting: 1, limit: 1, .. })));
    assert!(waiting.await.unwrap().is_err());
    drop(held);
    pool.get().await.unwrap();
}

#[tokio::test]
async fn a_caller_that_gives_up_loses_no_connection() {
    let (_database, pool) = pool(1).await;
    let held = pool.get().await.unwrap();
    for _ in 0..50 {
        assert!(tokio::time::timeout(Duration::from_millis(1), pool.get()).await.is_err());
    }
    drop(held);
    pool.get().await.unwrap();
    assert_eq!((pool.status().waiting, pool.status().open), (0, 1));
}

/// HikariCP's spike: connecting takes long, and a connection that comes back serves the next caller first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spike_of_callers_opens_few_connections() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    let pool = open(&proxy.through(database.url()).unwrap(), PoolConfig { min: 5, ..pool_config(50) });
    until("five are warm", async || pool.status().idle == 5).await;

    proxy.delay(Direction::ToClient, Duration::from_millis(150), Duration::ZERO);
    let (start, mut callers) = (Arc::new(Barrier::new(50)), JoinSet::new());
    for _ in 0..50 {
        let (pool, start) = (pool.clone(), Arc::clone(&start));
        callers.spawn(async move {
            start.wait().await;
            // What the caller does with it takes no time next to what connecting takes.
            drop(pool.get().await.unwrap());
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    assert!(pool.status().creates() <= 7, "{:?}", pool.status());
}

/// Opening hangs, so that it is still under way when the upkeep task looks again, many times until a stall is
/// noticed.
#[tokio::test]
async fn connections_that_are_being_opened_count_towards_the_maximum() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    proxy.stall();
    let config = PoolConfig { acquire_timeout: None, ..pool_config(1) };
    let pool = open(&proxy.through(database.url()).unwrap(), config);
    let mut callers = JoinSet::new();
    for _ in 0..5 {
        let pool = pool.clone();
        callers.spawn(async move { pool.get().await.map(drop) });
    }
    until("the stall is noticed", async || pool.status().stalled).await;
    assert_eq!((pool.status().creating, pool.status().waiting), (1, 5));
    proxy.heal();
    while let Some(caller) = callers.join_next().await {
        caller.unwrap().unwrap();
    }
    assert_eq!(pool.status().creates(), 1);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_sign_of_life() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    let through = proxy.through(database.url()).unwrap();
    // Once where a caller asks for it, once where the upkeep task does.
    for (check_after, keepalive) in [(Some(Duration::ZERO), None), (None, Some(Duration::ZERO))] {
        let pool = open(&through, PoolConfig { check_after, keepalive, ..pool_config(1) });
        until("one is open", async || pool.get().await.is_ok()).await;
        proxy.stall();
        let caller = check_after.map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get().await.map(drop) })
        });
        until("it is asked", async || pool.status().idle == 0).await;
        let drained = pool.shutdown(Duration::from_millis(500)).await;
        assert_eq!(drained.abandoned, 0, "{keepalive:?}");
        if let Some(caller) = caller {
            assert!(matches!(caller.await.unwrap(), Err(Error::PoolClosed { .. })));
        }
        assert!(matches!(pool.get().await, Err(Error::PoolClosed { .. })));
        proxy.heal();
    }
}

#[tokio::test]
async fn a_pool_that_is_shut_down_waits_for_those_in_use_and_says_what_it_abandoned() {
    let (_database, pool) = pool(3).await;
    let (kept, returned) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.shutdown(Duration::from_millis(300)).await }
    });
    until("it is closed", async || matches!(pool.get().await, Err(Error::PoolClosed { .. }))).await;
    drop(returned);
    let drained = closing.await.unwrap();
    assert_eq!((drained.closed, drained.abandoned), (1, 1));

    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.shutdown(Duration::from_secs(60)).await }
    });
    let mut kept = kept;
    kept.batch_execute("SELECT 1").await.unwrap();
    drop(kept);
    assert!(
        closing.await.unwrap().is_clean(),
        "it ends when the last one is back, not when the grace is over"
    );
}
