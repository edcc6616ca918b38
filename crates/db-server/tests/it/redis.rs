//! Redis, alone and as a cluster.

use std::io::{Read, Write};
use std::net::TcpStream;

use db_server::{Redis, RedisCluster, RedisProgram};

use crate::processes_in;

/// The program, if one is to be had; the test is skipped where none is.
fn program() -> Option<RedisProgram> {
    match db_server::find_redis(&|line| eprintln!("{line}")) {
        Err(missing) if missing.is_for_want_of_a_program() => {
            db_server::skip::this_test(missing);
            None
        }
        found => Some(found.unwrap()),
    }
}

#[test]
fn a_killed_redis_starts_again_empty_on_its_port() {
    let Some(program) = program() else { return };
    let redis = Redis::start(&program).unwrap();
    let port = redis.port();
    assert_eq!(redis.ask(&["SET", "key", "value"]).unwrap(), "OK");
    redis.kill().unwrap();
    assert_eq!(redis.pid(), None);
    redis.run().unwrap();
    assert_eq!(redis.port(), port);
    assert_eq!(redis.ask(&["GET", "key"]).unwrap(), "");
    redis.stop().unwrap();
}

#[test]
fn three_masters_share_the_slots() {
    let Some(program) = program() else { return };
    let cluster = RedisCluster::start(&program).unwrap();
    assert_eq!(cluster.masters().len(), 3);
    for master in cluster.masters() {
        assert!(master.ask(&["CLUSTER", "INFO"]).unwrap().contains("cluster_known_nodes:3"));
    }
    let dir = std::fs::read_link(format!("/proc/{}/cwd", cluster.masters()[0].pid().unwrap())).unwrap();
    let home = dir.parent().unwrap().to_owned();
    drop(cluster);
    assert!(!home.exists());
    assert_eq!(processes_in(&home), Vec::<u32>::new());
}

#[test]
fn a_redis_answers_nobody_without_its_password() {
    let Some(program) = program() else { return };
    let redis = Redis::start(&program).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    stream.write_all(b"GET key\r\nQUIT\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("-NOAUTH"), "{said}");
    let password = redis.url().strip_prefix("redis://:").unwrap().split_once('@').unwrap().0.to_owned();
    let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", redis.pid().unwrap())).unwrap();
    assert!(!arguments.contains(&password), "{arguments}");
    assert!(!format!("{redis:?}").contains(&password));
    assert_ne!(
        Redis::start(&program).unwrap().url().split_once('@').unwrap().0,
        format!("redis://:{password}")
    );
}
