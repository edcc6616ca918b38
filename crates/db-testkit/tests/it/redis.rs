//! Redis, where it is installed; `DB_TESTKIT_REQUIRE_REDIS` makes its absence a failure.

use db_testkit::{Redis, RedisCluster};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn is_installed() -> bool {
    let found = db_server::RedisPrograms::find().is_ok();
    assert!(found || std::env::var_os("DB_TESTKIT_REQUIRE_REDIS").is_none(), "Redis is required here");
    if !found {
        eprintln!("redis-server is not installed: not tested");
    }
    found
}

/// What a server says to one inline command, as far as one read goes.
fn ask(address: &str, command: &str, limit: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
}

fn address(url: &str) -> &str {
    url.strip_prefix("redis://").unwrap()
}

#[tokio::test]
async fn a_redis_server_forgets_when_killed_and_is_silent_when_paused() {
    if !is_installed() {
        return;
    }
    let redis = Redis::start().await.unwrap();
    let url = redis.url();
    let ask = |command| ask(address(&url), command, crate::LIMIT);
    assert_eq!(ask("SET a 1").unwrap(), "+OK\r\n");
    redis.kill().await.unwrap();
    assert!(ask("PING").is_err());
    redis.restart().await.unwrap();
    assert_eq!(ask("GET a").unwrap(), "$-1\r\n");
    redis.pause().await.unwrap();
    assert!(self::ask(address(&url), "PING", crate::SILENCE).is_err());
    redis.resume().await.unwrap();
    assert_eq!(ask("PING").unwrap(), "+PONG\r\n");
    drop(redis);
    assert!(ask("PING").is_err());
}

#[tokio::test]
async fn a_redis_cluster_has_three_masters_that_share_the_slots() {
    if !is_installed() {
        return;
    }
    let cluster = RedisCluster::start().await.unwrap();
    let urls = cluster.urls();
    assert_eq!(urls.len(), 3);
    for url in &urls {
        let info = ask(address(url), "CLUSTER INFO", crate::LIMIT).unwrap();
        assert!(info.contains("cluster_state:ok") && info.contains("cluster_size:3"), "{info}");
    }
}
