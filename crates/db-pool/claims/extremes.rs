//! pool-13: settings at their limits, and user code that panics or blocks at every hook.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use db_core::{Endpoint, LinkEvent, Observe, QueryEvent};
use db_pool::{ConnectConfig, Connector, PasswordError, Pool, PoolConfig};
use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;
use serde_json::json;

use crate::{Figure, Size};

const TIMEOUT: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(100);
const LEAST: Duration = Duration::from_nanos(1);

/// What user code does at its hook.
#[derive(Clone, Copy, Debug)]
enum Does {
    Panic,
    Block,
}

struct Hook {
    does: Does,
    on_link: bool,
    release: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Hook {
    fn run(&self, mine: bool) {
        match self.does {
            Does::Panic if mine => panic!("on purpose"),
            Does::Block if mine => {
                let _ = self.release.lock().unwrap().recv();
            }
            _ => {}
        }
    }
}

impl Observe for Hook {
    fn on_link(&self, _: &LinkEvent<'_>) {
        self.run(self.on_link);
    }

    fn on_query(&self, _: &QueryEvent<'_>) {
        self.run(!self.on_link);
    }
}

/// What was wrong, in words.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn note(&mut self, is_wrong: bool, what: &str) {
        if is_wrong {
            self.0.push(what.to_owned());
        }
    }
}

pub(crate) fn measure(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (wrong, tried) = runtime.block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let url: db_core::DatabaseUrl = database.url().parse().unwrap();
        let mut wrong = Wrong::default();
        let tried = settings(&url, &mut wrong).await + hooks(&url, &mut wrong).await;
        (wrong.0, tried)
    });
    let unit = "cases in which a caller hung, attempts were too many, or the error named no fault";
    Figure {
        value: wrong.len() as f64,
        unit,
        holds: wrong.is_empty(),
        detail: json!({ "tried": tried, "wrong": wrong }),
    }
}

fn connector(url: &db_core::DatabaseUrl, config: ConnectConfig) -> (Connector, Endpoint) {
    (Connector::new(url.clone(), config), url.hosts()[0].clone())
}

/// Each duration and each count at least, at most and absent, the others as they are.
async fn settings(url: &db_core::DatabaseUrl, wrong: &mut Wrong) -> usize {
    type Set = fn(&mut PoolConfig, &mut ConnectConfig, Option<Duration>);
    let durations: &[(&str, Set)] = &[
        ("idle_timeout", |pool, _, to| pool.idle_timeout = to),
        ("max_lifetime", |pool, _, to| pool.max_lifetime = to),
        ("check_after", |pool, _, to| pool.check_after = to),
        ("keepalive", |pool, _, to| pool.keepalive = to),
        ("leak_threshold", |pool, _, to| pool.leak_threshold = to),
        ("salvage_timeout", |pool, _, to| pool.salvage_timeout = to.unwrap_or(Duration::MAX)),
        ("socket_timeout", |_, connect, to| connect.socket_timeout = to),
        ("lock_timeout", |_, connect, to| connect.lock_timeout = to),
        ("idle_in_transaction_timeout", |_, connect, to| connect.idle_in_transaction_timeout = to),
        ("acquire_timeout", |pool, _, to| pool.acquire_timeout = to),
        ("connect_timeout", |_, connect, to| connect.connect_timeout = to.unwrap_or(Duration::MAX)),
        ("statement_timeout", |_, connect, to| connect.statement_timeout = to),
    ];
    let mut tried = 0;
    for (name, set) in durations {
        for to in [Some(LEAST), Some(Duration::ZERO), Some(Duration::MAX), None] {
            let (mut pool, mut connect) = ordinary();
            set(&mut pool, &mut connect, to);
            // What ends at once may refuse, but must not hang.
            let serves = to.is_none_or(|to| to > LEAST);
            check(url, pool, connect, serves, &format!("{name} = {to:?}"), wrong).await;
            tried += 1;
        }
    }
    for count in [1, usize::MAX] {
        type Set = fn(&mut PoolConfig, usize);
        let set: [(&str, Set); 4] = [
            ("max", |pool, to| pool.max = to.try_into().unwrap()),
            ("max_waiters", |pool, to| pool.max_waiters = if to == 1 { 0 } else { to }),
            ("background", |pool, to| pool.background = to.try_into().ok()),
            ("max_buffer", |pool, to| pool.max_buffer = to.try_into().ok()),
        ];
        for (name, set) in set {
            let (mut pool, connect) = ordinary();
            set(&mut pool, count);
            check(url, pool, connect, true, &format!("{name} = {count}"), wrong).await;
            tried += 1;
        }
    }
    tried
}

fn ordinary() -> (PoolConfig, ConnectConfig) {
    let pool =
        PoolConfig { max: 2.try_into().unwrap(), acquire_timeout: Some(TIMEOUT), ..PoolConfig::default() };
    (pool, ConnectConfig::default())
}

/// Three callers in turn, one of whom leaves a transaction open. The line whose removal this must notice:
/// `checked_add` where a caller's deadline is made, in `pool.rs`.
async fn check(
    url: &db_core::DatabaseUrl,
    config: PoolConfig,
    connect: ConnectConfig,
    serves: bool,
    what: &str,
    wrong: &mut Wrong,
) {
    let (connector, endpoint) = connector(url, connect);
    let pool = Pool::open(connector, endpoint, config);
    for _ in 0..3 {
        let begun = Instant::now();
        let caller = tokio::spawn({
            let pool = pool.clone();
            async move { pool.get().await }
        });
        let got = tokio::time::timeout(TIMEOUT * 4, caller).await;
        wrong.note(begun.elapsed() > TIMEOUT + SLACK, &format!("{what}: hung for {:?}", begun.elapsed()));
        match got {
            Ok(Ok(Ok(mut conn))) => {
                let _ = conn.batch_execute("BEGIN; SET search_path = evil").await;
            }
            Ok(Ok(Err(error))) => wrong.note(serves, &format!("{what}: {error}")),
            Ok(Err(panic)) => wrong.note(true, &format!("{what}: {panic}")),
            Err(_) => {}
        }
    }
    let attempts = pool.status().connect_errors;
    wrong.note(attempts > 20, &format!("{what}: {attempts} attempts"));
}

async fn hooks(url: &db_core::DatabaseUrl, wrong: &mut Wrong) -> usize {
    let mut tried = 0;
    for does in [Does::Panic, Does::Block] {
        for hook in ["on_link", "on_query", "password"] {
            let (release, held) = mpsc::channel();
            let held = Arc::new(Mutex::new(held));
            let (pool, connect) = ordinary();
            let (mut connector, endpoint) = connector(url, connect);
            if hook == "password" {
                let hook = Arc::new(Hook { does, on_link: true, release: Arc::clone(&held) });
                connector = connector.with_password(move || {
                    let hook = Arc::clone(&hook);
                    async move {
                        hook.run(true);
                        Err::<String, PasswordError>("released".into())
                    }
                });
            } else {
                let hook = Hook { does, on_link: hook == "on_link", release: Arc::clone(&held) };
                connector = connector.observed_by([Arc::new(hook) as Arc<dyn Observe>]);
            }
            let pool = Pool::open(connector, endpoint, pool);
            let (what, begun) = (format!("{hook}, {does:?}"), Instant::now());
            let got = pool.get().await;
            wrong.note(begun.elapsed() > TIMEOUT + SLACK, &format!("{what}: hung for {:?}", begun.elapsed()));
            let names = got.as_ref().err().is_some_and(|error| error.to_string().contains("password source"));
            wrong.note(names != (hook == "password"), &format!("{what}: {:?}", got.as_ref().err()));
            let most = 1 + begun.elapsed().as_millis() as u64 / 100;
            wrong.note(pool.status().connect_errors > most, &format!("{what}: {:?}", pool.status()));
            // Only now may what blocks go on: the runtime could not end otherwise.
            drop(release);
            tried += 1;
        }
    }
    tried
}
