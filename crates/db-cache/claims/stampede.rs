//! cache-2b: processes that ask for the same cold keys at once, and one that is killed while it loads.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use db_cache::{CacheConfig, Keyspace, Loaded, ReadAt};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{Figure, Size};
use crate::{negatives, server};

/// The program's first argument in the processes that it starts.
pub(crate) const CHILD: &str = "stampede-child";

static ROWS: Keyspace<u64, u64> = Keyspace::new("rows");

const PROCESSES: usize = 4;
const TASKS: u64 = 64;
const KEYS: u64 = 1_000;
/// What a load takes: long enough for all processes to meet, and for a kill to hit some.
const LOAD: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(120);

/// What the processes said.
struct Round {
    loads: HashMap<u64, u64>,
    wrong: u64,
    took: Duration,
}

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 10 } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut holds, mut total, mut detail) = (true, 0, Vec::new());
    for _ in 0..rounds {
        let calm = runtime.block_on(round(false));
        let killed = runtime.block_on(round(true));
        let sum: u64 = calm.loads.values().sum();
        let most = killed.loads.values().max().copied().unwrap_or_default();
        total += sum;
        holds &= sum == KEYS && calm.loads.len() as u64 == KEYS && calm.wrong == 0;
        holds &= most <= 2 && killed.loads.len() as u64 == KEYS && killed.wrong == 0;
        detail.push(json!({
            "loads": sum, "wrong": calm.wrong, "took_ms": calm.took.as_millis(),
            "killed_loads": killed.loads.values().sum::<u64>(), "killed_most_a_key": most,
            "killed_wrong": killed.wrong, "killed_took_ms": killed.took.as_millis(),
        }));
    }
    let negatives = runtime.block_on(negatives::measure());
    // Nothing is shown where the cache did not answer with what is not there.
    holds &= negatives.wrong == 0 && negatives.nothing > 1_000 && negatives.hits > 1_000;
    let detail = json!({ "rounds": detail, "negatives": negatives.detail() });
    Figure { value: total as f64 / rounds as f64, unit: "loads of 1,000 keys", holds, detail }
}

async fn round(kills: bool) -> Round {
    let redis = server::start().await;
    let started = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let mut children: Vec<Child> = (0..PROCESSES)
        .map(|_| {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .arg(CHILD)
                .env("CLAIMS_REDIS", redis.url())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (output, sender, pid) = (child.stdout.take().unwrap(), sender.clone(), child.id());
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send((pid, line));
                }
            });
            child
        })
        .collect();
    drop(sender);
    let (mut loads, mut wrong, mut ready, mut done, mut began) = (HashMap::new(), 0, 0, 0, 0);
    let victim = children[0].id();
    let expected = if kills { PROCESSES - 1 } else { PROCESSES };
    while done < expected {
        let (pid, line) = receiver.recv_timeout(LIMIT).unwrap();
        match line.split_once(' ') {
            Some(("ready", _)) => ready += 1,
            Some(("load", key)) => *loads.entry(key.parse().unwrap()).or_default() += 1,
            Some(("done", found)) => {
                done += usize::from(!kills || pid != victim);
                wrong += found.parse::<u64>().unwrap();
            }
            _ => {}
        }
        if ready == PROCESSES {
            ready = 0;
            for child in &mut children {
                child.stdin.take();
            }
        }
        began += u32::from(pid == victim && line.starts_with("load"));
        if kills && began == 100 {
            children[0].kill().unwrap();
        }
    }
    for child in &mut children {
        child.wait().unwrap();
    }
    Round { loads, wrong, took: started.elapsed() }
}

/// Asks for all keys, when its input ends, from many tasks, and says each load before it begins.
pub(crate) fn child() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let wrong = runtime.block_on(async {
        // What is measured is who loads, not how fast a crowded machine answers.
        let config = CacheConfig { tier_budget: Duration::from_secs(5), ..CacheConfig::default() };
        let cache = server::cache(&std::env::var("CLAIMS_REDIS").unwrap(), config).await;
        say("ready", 0);
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
            .await
            .unwrap()
            .unwrap();
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let cache = cache.clone();
            tasks.spawn(async move {
                let mut wrong = 0;
                for number in 0..KEYS {
                    let key = (number + task * 7) % KEYS;
                    let load = move |_| async move {
                        say("load", key);
                        tokio::time::sleep(LOAD).await;
                        Ok::<_, std::io::Error>(Loaded::new(Some(key), ReadAt::Primary(None)))
                    };
                    let found = cache.get_with(&ROWS.key(key), load).await;
                    wrong += u64::from(!found.is_ok_and(|found| found.is_some_and(|found| *found == key)));
                }
                wrong
            });
        }
        let mut wrong = 0;
        while let Some(found) = tasks.join_next().await {
            wrong += found.unwrap();
        }
        wrong
    });
    say("done", wrong);
    ExitCode::SUCCESS
}

fn say(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {number}").and_then(|()| out.flush()).unwrap();
}
