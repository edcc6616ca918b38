//! The rest of cache-2b: processes that remember what is not there, while it is made.
//!
//! The rows live in a hash of the same Redis, which stands for the database: a load reads them there.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db_cache::{CacheConfig, Keyspace, Loaded, Mode, ReadAt, Tag};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server;

/// The program's first argument in the processes that it starts.
pub(crate) const CHILD: &str = "negatives-child";

static ROWS: Keyspace<u64, u64> =
    Keyspace::new("made").mode(Mode::Strict).tags_of_key(|id| vec![Tag::row("made", id)]);

const PROCESSES: usize = 4;
const TASKS: u64 = 16;
const ROUNDS: u64 = 400;
/// How many rows are not there at a time.
const ABSENT: u64 = 8;

/// What the processes have counted.
#[derive(Debug, Default)]
pub(crate) struct Negatives {
    pub(crate) reads: u64,
    /// Reads that the cache answered with "there is nothing".
    pub(crate) nothing: u64,
    /// Of these, how many after the row had been made.
    pub(crate) wrong: u64,
    pub(crate) hits: u64,
}

impl Negatives {
    pub(crate) fn detail(&self) -> Value {
        json!({ "reads": self.reads, "nothing": self.nothing, "wrong": self.wrong, "hits": self.hits })
    }
}

/// Processes ask for rows that are not there, one after another of which is made.
pub(crate) async fn measure() -> Negatives {
    let redis = server::start().await;
    let cache = server::cache(&redis.url(), CacheConfig::default()).await;
    let mut client = server::client(&redis.url()).await;
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| spawn(&redis.url())).collect();
    let mut outputs: Vec<_> =
        children.iter_mut().map(|child| BufReader::new(child.stdout.take().unwrap())).collect();
    for output in &mut outputs {
        assert_eq!(line(output), "ready");
    }
    for id in 0..ROUNDS {
        server::ask::<()>(&mut client, &["SET", "absent", &id.to_string()]).await;
        tokio::time::sleep(Duration::from_millis(4)).await;
        let transaction = cache.transaction();
        transaction.touch(Tag::row("made", id));
        transaction.before_commit().await.unwrap();
        server::ask::<()>(&mut client, &["HSET", "rows", &id.to_string(), "7"]).await;
        transaction.committed(None).await;
        server::ask::<()>(&mut client, &["HSET", "told", &id.to_string(), "1"]).await;
    }
    let mut all = Negatives::default();
    for (child, output) in children.iter_mut().zip(&mut outputs) {
        drop(child.stdin.take());
        let told = line(output);
        let mut numbers = told.split(' ').map(|number| number.parse::<u64>().unwrap());
        let mut next = || numbers.next().unwrap();
        all.reads += next();
        all.nothing += next();
        all.wrong += next();
        all.hits += next();
        child.wait().unwrap();
    }
    all
}

fn spawn(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg(CHILD)
        .env("CLAIMS_REDIS", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Asks for the rows around the one that is made next, until its input ends.
#[expect(clippy::print_stdout, reason = "what it finds goes to the process that has started it")]
pub(crate) fn child() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&is_over);
    let all = runtime.block_on(async {
        let url = std::env::var("CLAIMS_REDIS").unwrap();
        let cache = server::cache(&url, CacheConfig::default()).await;
        println!("ready");
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            watched.store(true, Ordering::SeqCst);
        });
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (cache, url, is_over) = (cache.clone(), url.clone(), Arc::clone(&is_over));
            tasks.spawn(async move {
                let mut client = server::client(&url).await;
                let mut counted = Negatives::default();
                while !is_over.load(Ordering::SeqCst) {
                    let next: Option<u64> = server::ask(&mut client, &["GET", "absent"]).await;
                    let id = next.unwrap_or(0) + task % ABSENT;
                    let told: bool = server::ask(&mut client, &["HEXISTS", "told", &id.to_string()]).await;
                    let loads = client.clone();
                    let load = move |_| {
                        let mut client = loads.clone();
                        async move {
                            let row: Option<u64> =
                                server::ask(&mut client, &["HGET", "rows", &id.to_string()]).await;
                            Ok::<_, std::io::Error>(Loaded::new(row, ReadAt::Primary(None)))
                        }
                    };
                    let found = cache.get_with(&ROWS.key(id), load).await.unwrap();
                    counted.reads += 1;
                    counted.nothing += u64::from(found.is_none());
                    counted.wrong += u64::from(found.is_none() && told);
                }
                counted
            });
        }
        let mut all = Negatives::default();
        while let Some(counted) = tasks.join_next().await {
            let counted = counted.unwrap();
            all.reads += counted.reads;
            all.nothing += counted.nothing;
            all.wrong += counted.wrong;
        }
        all.hits = cache.stats().second_tier_hits;
        all
    });
    println!("{} {} {} {}", all.reads, all.nothing, all.wrong, all.hits);
    ExitCode::SUCCESS
}
