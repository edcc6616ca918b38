//! What the upkeep task does: keeps a minimum, closes what is too old, and finds a server that is back.

use std::time::Duration;

use db_core::DatabaseUrl;
use db_pool::PoolConfig;
use db_testkit::{Cluster, Proxy, TestDatabase, until};
use diesel_async::SimpleAsyncConnection;

use crate::{backend, number, open, pool, pool_config};

#[tokio::test]
async fn the_minimum_is_opened_and_idle_ones_above_it_are_closed() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(
        database.url(),
        PoolConfig { min: 2, idle_timeout: Some(Duration::from_millis(200)), ..pool_config(5) },
    );
    until("the minimum is open", async || pool.status().idle == 2).await;
    let busy = (pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(pool.status().open, 3);
    drop(busy);
    until("one too many is closed", async || pool.status().open == 2).await;
}

#[tokio::test]
async fn a_connection_past_its_lifetime_is_replaced() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(
        database.url(),
        PoolConfig { min: 1, max_lifetime: Some(Duration::from_millis(200)), ..pool_config(1) },
    );
    let first = backend(&mut pool.get().await.unwrap()).await;
    until("another backend answers", async || backend(&mut pool.get().await.unwrap()).await != first).await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_handed_out() {
    let (database, pool) = pool(1).await;
    let first = backend(&mut pool.get().await.unwrap()).await;
    let mut observer = database.connect().await.unwrap();
    observer.batch_execute(&format!("SELECT pg_terminate_backend({first})")).await.unwrap();
    let gone = format!("SELECT count(*) AS n FROM pg_stat_activity WHERE pid = {first}");
    until("the backend is gone", async || number(&mut observer, &gone).await == 0).await;
    until("a caller gets another", async || {
        let mut conn = pool.get().await.unwrap();
        conn.batch_execute("SELECT 1").await.is_ok()
    })
    .await;
    assert_ne!(backend(&mut pool.get().await.unwrap()).await, first);
}

#[tokio::test]
async fn evicted_connections_are_closed_idle_or_not() {
    let (_database, pool) = pool(2).await;
    let mut held = pool.get().await.unwrap();
    let before = [backend(&mut held).await, backend(&mut pool.get().await.unwrap()).await];
    pool.evict_all();
    drop(held);
    assert!(!before.contains(&backend(&mut pool.get().await.unwrap()).await));
}

#[tokio::test]
async fn a_server_that_is_down_sees_few_attempts_and_is_found_when_it_is_back() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    proxy.stall();
    proxy.cut();
    proxy.refuse();
    let pool = open(&proxy.through(database.url()).unwrap(), PoolConfig { min: 3, ..pool_config(20) });
    until("a few attempts failed", async || pool.status().connect_errors >= 4).await;
    let began = std::time::Instant::now();
    let before = pool.status().connect_errors;
    until("a few more failed", async || pool.status().connect_errors >= before + 5).await;
    let made = pool.status().connect_errors - before;
    let allowed = began.elapsed().as_secs_f64() * 10.0 + 1.0;
    assert!((made as f64) <= allowed, "{made} attempts, {allowed:.1} are the most");
    proxy.heal();
    pool.get().await.unwrap();
}

/// Nothing is heard of a server that is stopped, and the kernel goes on accepting for it.
#[tokio::test]
async fn a_server_that_is_stopped_is_noticed_and_found_again() {
    let cluster = Cluster::builder().start().await.unwrap();
    let pool = open(&cluster.primary_url(), pool_config(2));
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("SELECT pg_sleep(1)").await.unwrap();
    assert!(!pool.status().stalled, "a statement that takes long is no sign");
    cluster.pause(0).await.unwrap();
    let asking = tokio::spawn(async move { conn.batch_execute("SELECT 1").await });
    until("it is noticed", async || pool.status().stalled).await;
    cluster.resume(0).await.unwrap();
    until("it is found again", async || !pool.status().stalled).await;
    asking.await.unwrap().unwrap();
    pool.get().await.unwrap().batch_execute("SELECT 1").await.unwrap();
}
