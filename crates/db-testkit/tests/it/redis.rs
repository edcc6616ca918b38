//! Redis, alone and as a cluster.

use db_testkit::{Redis, RedisCluster, skip};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What a server says to one inline command, as far as one read goes.
fn ask(url: &str, command: &str, limit: Duration) -> std::io::Result<String> {
    let (password, address) = url.strip_prefix("redis://:").unwrap().split_once('@').unwrap();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(limit))?;
    let mut say = |words: &str| -> std::io::Result<String> {
        let mut buffer = [0; 4096];
        stream.write_all(format!("{words}\r\n").as_bytes())?;
        let read = stream.read(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
    };
    assert_eq!(say(&format!("AUTH {password}"))?, "+OK\r\n");
    say(command)
}

#[tokio::test]
async fn a_redis_server_forgets_when_killed_and_is_silent_when_paused() {
    let Some(redis) = skip::without(Redis::start().await) else { return };
    let url = redis.url();
    let ask = |command| ask(&url, command, crate::LIMIT);
    assert_eq!(ask("SET a 1").unwrap(), "+OK\r\n");
    redis.kill().await.unwrap();
    assert!(ask("PING").is_err());
    redis.restart().await.unwrap();
    assert_eq!(ask("GET a").unwrap(), "$-1\r\n");
    redis.pause().await.unwrap();
    assert!(self::ask(&url, "PING", crate::SILENCE).is_err());
    redis.resume().await.unwrap();
    assert_eq!(ask("PING").unwrap(), "+PONG\r\n");
    drop(redis);
    assert!(ask("PING").is_err());
}

#[tokio::test]
async fn a_redis_cluster_has_three_masters_that_share_the_slots() {
    let Some(cluster) = skip::without(RedisCluster::start().await) else { return };
    let urls = cluster.urls();
    assert_eq!(urls.len(), 3);
    for url in &urls {
        let info = ask(url, "CLUSTER INFO", crate::LIMIT).unwrap();
        assert!(info.contains("cluster_state:ok") && info.contains("cluster_size:3"), "{info}");
    }
}
