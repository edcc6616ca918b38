//! Each fault of the proxy, seen by a real client of a real server.

use crate::{LIMIT, SILENCE, connect, one, until};
use db_core::DatabaseUrl;
use db_testkit::{Direction, Proxy, TestDatabase};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use tokio::time::timeout;

pub(crate) struct Through {
    pub(crate) database: TestDatabase,
    pub(crate) proxy: Proxy,
    pub(crate) url: String,
}

/// A test database with a proxy in front of it.
pub(crate) async fn through() -> Through {
    let database = TestDatabase::empty().await.unwrap();
    let server: DatabaseUrl = database.url().parse().unwrap();
    let server = &server.hosts()[0];
    let proxy = Proxy::start((server.host(), server.port())).unwrap();
    let url = proxy.through(database.url()).unwrap();
    Through { database, proxy, url }
}

fn io_kind(error: &tokio_postgres::Error) -> Option<std::io::ErrorKind> {
    std::error::Error::source(error)?.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
}

#[tokio::test]
async fn without_a_fault_bytes_pass_and_are_counted() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    assert_eq!(one::<String>(&client, "SELECT repeat('x', 300000)").await.len(), 300_000);
    let counters = proxy.counters();
    assert_eq!((counters.accepted, counters.open, counters.commits_seen), (1, 1, 0));
    assert!(counters.bytes_to_client > 300_000 && counters.bytes_to_server > 100, "{counters:?}");
    drop(client);
    until("the connection's end", async || proxy.counters().open == 0).await;
}

#[tokio::test]
async fn cut_resets_open_connections_and_new_ones_are_served() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    proxy.cut();
    assert!(timeout(LIMIT, client.query_one("SELECT 1", &[])).await.unwrap().is_err());
    assert!(client.is_closed());
    assert_eq!(one::<i32>(&connect(&url).await.unwrap(), "SELECT 1").await, 1);
}

#[tokio::test]
async fn refuse_refuses_new_connections_and_leaves_open_ones_alone() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    for _ in 0..3 {
        proxy.refuse();
        let error = connect(&url).await.unwrap_err();
        assert_eq!(io_kind(&error), Some(std::io::ErrorKind::ConnectionRefused), "{error:?}");
        assert_eq!(one::<i32>(&client, "SELECT 1").await, 1);
        proxy.heal();
        assert!(connect(&url).await.is_ok(), "on the same port");
    }
}

#[tokio::test]
async fn blackhole_swallows_what_is_said_and_a_connection_that_lost_bytes_dies_when_healed() {
    let Through { proxy, url, database: _database } = through().await;
    let (loser, silent) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    proxy.blackhole();
    let before = proxy.counters();
    let mut lost = Box::pin(loser.query_one("SELECT 1", &[]));
    let mut connecting = Box::pin(connect(&url));
    assert!(timeout(SILENCE, &mut lost).await.is_err());
    assert!(timeout(SILENCE, &mut connecting).await.is_err(), "accepted and not answered");
    let after = proxy.counters();
    assert_eq!(after.accepted, before.accepted + 1);
    assert_eq!(after.bytes_to_server, before.bytes_to_server);
    proxy.heal();
    assert!(timeout(LIMIT, lost).await.unwrap().is_err());
    assert!(timeout(LIMIT, connecting).await.unwrap().is_err());
    assert_eq!(one::<i32>(&silent, "SELECT 1").await, 1, "it lost nothing");
}

#[tokio::test]
async fn a_blackhole_hides_the_servers_end() {
    let Through { database, proxy, url } = through().await;
    let client = connect(&url).await.unwrap();
    let pid: i32 = one(&client, "SELECT pg_backend_pid()").await;
    proxy.blackhole();
    let direct = connect(database.url()).await.unwrap();
    assert!(one::<bool>(&direct, &format!("SELECT pg_terminate_backend({pid}, 10000)")).await);
    assert!(timeout(SILENCE, client.query_one("SELECT 1", &[])).await.is_err());
    assert!(!client.is_closed());
    proxy.cut();
    until("the client's end", async || client.is_closed()).await;
}

#[tokio::test]
async fn stall_holds_every_byte_back_and_loses_none() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    proxy.stall();
    let mut query = Box::pin(client.query_one("SELECT 1", &[]));
    let mut connecting = Box::pin(connect(&url));
    assert!(timeout(SILENCE, &mut query).await.is_err());
    assert!(timeout(SILENCE, &mut connecting).await.is_err());
    proxy.heal();
    assert!(timeout(LIMIT, query).await.unwrap().is_ok());
    assert_eq!(one::<i32>(&timeout(LIMIT, connecting).await.unwrap().unwrap(), "SELECT 1").await, 1);
}

#[tokio::test]
async fn latency_delays_each_answer_and_does_not_slow_the_flow() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    let latency = Duration::from_millis(60);
    proxy.delay(Direction::ToServer, latency, Duration::ZERO);
    proxy.delay(Direction::ToClient, latency, Duration::from_millis(20));
    let start = Instant::now();
    client.simple_query("SELECT 1").await.unwrap();
    assert!(start.elapsed() >= 2 * latency, "{:?}", start.elapsed());
    // Four megabytes are 256 pieces: one after another they would take 15 s.
    let start = Instant::now();
    client.simple_query("SELECT repeat('x', 4000000)").await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    proxy.heal();
    let start = Instant::now();
    client.simple_query("SELECT 1").await.unwrap();
    assert!(start.elapsed() < latency, "{:?}", start.elapsed());
}

#[tokio::test]
async fn throttle_bounds_the_rate_of_one_direction() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    proxy.throttle(Direction::ToClient, NonZeroU64::new(200_000).unwrap());
    let start = Instant::now();
    client.simple_query("SELECT repeat('x', 100000)").await.unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
    let start = Instant::now();
    client.simple_query(&format!("SELECT length('{}')", "x".repeat(1_000_000))).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "the other direction is free: {:?}", start.elapsed());
}

#[tokio::test]
async fn cut_after_lets_exactly_so_many_bytes_through() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    for _ in 0..2 {
        one::<i32>(&client, "SELECT 1").await;
    }
    let before = proxy.counters().bytes_to_client;
    proxy.cut_after(Direction::ToClient, 1234);
    assert!(timeout(LIMIT, client.query_one("SELECT repeat('x', 100000)", &[])).await.unwrap().is_err());
    assert_eq!(proxy.counters().bytes_to_client - before, 1234);
    assert!(
        timeout(LIMIT, async { connect(&url).await?.simple_query("SELECT repeat('x', 2000)").await })
            .await
            .unwrap()
            .is_err()
    );
    assert_eq!(
        proxy.counters().bytes_to_client - before,
        2 * 1234,
        "a new connection has a count of its own"
    );
    proxy.heal();
    assert!(connect(&url).await.is_ok());
}

#[tokio::test]
async fn half_open_ends_the_servers_side_and_the_client_does_not_notice() {
    let Through { database, proxy, url } = through().await;
    let client = connect(&url).await.unwrap();
    let pid: i32 = one(&client, "SELECT pg_backend_pid()").await;
    let direct = connect(database.url()).await.unwrap();
    proxy.half_open();
    let gone = format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})");
    until("the backend's end", async || one(&direct, &gone).await).await;
    assert!(timeout(SILENCE, client.query_one("SELECT 1", &[])).await.is_err());
    assert!(!client.is_closed());
    assert!(connect(&url).await.is_ok(), "new ones are served");
    proxy.cut();
    until("the client's end", async || client.is_closed()).await;
}

#[tokio::test]
async fn redirect_moves_new_connections_to_another_server() {
    let Through { proxy, url, database: _database } = through().await;
    let held = connect(&url).await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    proxy.redirect(nobody).unwrap();
    assert!(connect(&url).await.is_err());
    assert_eq!(one::<i32>(&held, "SELECT 1").await, 1);
}

#[tokio::test]
async fn a_dropped_proxy_leaves_no_port_no_connection_and_no_thread() {
    let Through { proxy, url, database } = through().await;
    let client = connect(&url).await.unwrap();
    let name = format!("proxy-{}", proxy.port());
    let threads = || -> Vec<String> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect()
    };
    assert!(threads().iter().any(|thread| thread.trim_end() == name), "{:?}", threads());
    drop(proxy);
    assert!(!threads().iter().any(|thread| thread.trim_end() == name));
    // A thread that is only about to end would be seen some of these times.
    for _ in 0..100 {
        let proxy = Proxy::start("127.0.0.1:1").unwrap();
        let name = format!("proxy-{}", proxy.port());
        drop(proxy);
        assert!(!threads().iter().any(|thread| thread.trim_end() == name));
    }
    assert_eq!(io_kind(&connect(&url).await.unwrap_err()), Some(std::io::ErrorKind::ConnectionRefused));
    assert!(timeout(LIMIT, client.query_one("SELECT 1", &[])).await.unwrap().is_err());
    drop(database);
}
