//! What goes wrong during a run, one thing after another and some at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use db_server::process::Signal;
use db_testkit::{CommitCut, Direction, Redis};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::Process;
use super::{PROCESSES, Scene};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillRedis,
    KillRedisWithData,
    StopRedis,
    Flush,
    KillClients,
    KillProcess,
    StopProcess,
    DelayFeed,
    CutTier,
    PauseReplay,
    CutCommits,
}

const FAULTS: [Fault; 11] = [
    Fault::KillRedis,
    Fault::KillRedisWithData,
    Fault::StopRedis,
    Fault::Flush,
    Fault::KillClients,
    Fault::KillProcess,
    Fault::StopProcess,
    Fault::DelayFeed,
    Fault::CutTier,
    Fault::PauseReplay,
    Fault::CutCommits,
];

/// Where COMMITs are cut.
const CUTS: [CommitCut; 4] =
    [CommitCut::Withheld, CommitCut::Forwarded, CommitCut::Answered, CommitCut::Falsified(*b"08006")];

/// How often each went wrong.
#[derive(Debug, Default)]
pub(super) struct Made(BTreeMap<Fault, u64>);

impl Made {
    pub(super) fn detail(&self) -> Value {
        json!(self.0.iter().map(|(fault, times)| (format!("{fault:?}"), times)).collect::<BTreeMap<_, _>>())
    }
}

/// Lets something go wrong, now and then while something else does, and ends it.
pub(super) async fn make(scene: &Scene, processes: &mut [Process], random: &mut SmallRng, made: &mut Made) {
    let first = FAULTS[random.random_range(0..FAULTS.len())];
    let place = random.random_range(0..PROCESSES);
    begin(first, scene, processes, place, random, made).await;
    pause(random, 20..400).await;
    let second = random.random_bool(0.4).then(|| FAULTS[random.random_range(0..FAULTS.len())]);
    let other = random.random_range(0..PROCESSES);
    if let Some(second) = second {
        begin(second, scene, processes, other, random, made).await;
    }
    // Some last longer than anybody waits.
    let longest = if random.random_bool(0.25) { 3_500 } else { 700 };
    pause(random, 20..longest).await;
    end(first, scene, processes, place).await;
    pause(random, 1..200).await;
    if let Some(second) = second {
        end(second, scene, processes, other).await;
    }
    pause(random, 50..900).await;
}

async fn pause(random: &mut SmallRng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(ms))).await;
}

async fn begin(
    fault: Fault,
    scene: &Scene,
    processes: &mut [Process],
    place: usize,
    random: &mut SmallRng,
    made: &mut Made,
) {
    *made.0.entry(fault).or_default() += 1;
    match fault {
        Fault::KillRedis => scene.redis.kill().await.unwrap(),
        Fault::KillRedisWithData => {
            say(&scene.redis, "SAVE").await;
            scene.redis.kill().await.unwrap();
        }
        // One that was killed cannot be stopped.
        Fault::StopRedis => drop(scene.redis.pause().await),
        Fault::Flush => say(&scene.redis, "FLUSHALL").await,
        Fault::KillClients => say(&scene.redis, "CLIENT KILL TYPE normal SKIPME yes").await,
        Fault::KillProcess => processes[place].kill(scene),
        Fault::StopProcess => processes[place].signal(Signal::Stop),
        Fault::DelayFeed => {
            let latency = Duration::from_millis(random.random_range(10..300));
            scene.tiers[place].delay(Direction::ToClient, latency, latency / 2);
        }
        Fault::CutTier => scene.tiers[place].cut(),
        Fault::PauseReplay => scene.cluster.pause_replay(1).await.unwrap(),
        Fault::CutCommits => {
            let cut = CUTS[random.random_range(0..CUTS.len())];
            scene.primaries[place].cut_commits(random.random_range(1..4), cut);
        }
    }
}

async fn end(fault: Fault, scene: &Scene, processes: &mut [Process], place: usize) {
    match fault {
        Fault::KillRedis | Fault::KillRedisWithData => scene.redis.restart().await.unwrap(),
        Fault::StopRedis => drop(scene.redis.resume().await),
        Fault::StopProcess => processes[place].signal(Signal::Continue),
        Fault::DelayFeed => scene.tiers[place].heal(),
        Fault::CutCommits => scene.primaries[place].heal(),
        Fault::PauseReplay => drop(scene.cluster.resume_replay(1).await),
        Fault::Flush | Fault::KillClients | Fault::KillProcess | Fault::CutTier => {}
    }
}

/// Tells the server a command, if it is there.
async fn say(redis: &Redis, command: &str) {
    let url = redis.url();
    let password = url.split_once("://:").and_then(|(_, rest)| rest.split_once('@')).map(|(word, _)| word);
    let speak = async {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await?;
        let words = format!("AUTH {}\r\n{command}\r\nQUIT\r\n", password.unwrap_or_default());
        stream.write_all(words.as_bytes()).await?;
        // It closes the connection when it has done all of it.
        stream.read_to_end(&mut Vec::new()).await
    };
    // A server that was killed or stopped does not listen.
    let _ = tokio::time::timeout(Duration::from_millis(500), speak).await;
}
