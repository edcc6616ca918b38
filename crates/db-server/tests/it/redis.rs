//! Redis, alone and as a cluster.

use std::process::Command;

use db_server::{Redis, RedisCluster, RedisPrograms};

use crate::processes_in;

/// `None` says so and skips: `cargo xtask ci` makes sure that there is one.
fn programs() -> Option<RedisPrograms> {
    let found = RedisPrograms::find().ok();
    if found.is_none() {
        eprintln!("no redis-server on PATH: skipped");
    }
    assert!(
        found.is_some() || std::env::var_os("DB_TESTKIT_REQUIRE_REDIS").is_none(),
        "Redis is required here"
    );
    found
}

fn ask(programs: &RedisPrograms, port: u16, words: &[&str]) -> String {
    let output =
        Command::new(programs.client.as_ref().unwrap()).args(["-p", &port.to_string()]).args(words).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn a_killed_redis_starts_again_empty_on_its_port() {
    let Some(programs) = programs() else { return };
    let redis = Redis::start(&programs).unwrap();
    let port = redis.port();
    assert_eq!(ask(&programs, port, &["set", "key", "value"]), "OK");
    redis.kill().unwrap();
    assert_eq!(redis.pid(), None);
    redis.run().unwrap();
    assert_eq!(redis.port(), port);
    assert_eq!(ask(&programs, port, &["get", "key"]), "");
    redis.stop().unwrap();
}

#[test]
fn three_masters_share_the_slots() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).unwrap();
    assert_eq!(cluster.masters().len(), 3);
    for master in cluster.masters() {
        assert!(ask(&programs, master.port(), &["cluster", "info"]).contains("cluster_known_nodes:3"));
    }
    let dir = std::fs::read_link(format!("/proc/{}/cwd", cluster.masters()[0].pid().unwrap())).unwrap();
    let home = dir.parent().unwrap().to_owned();
    drop(cluster);
    assert!(!home.exists());
    assert_eq!(processes_in(&home), Vec::<u32>::new());
}
