//! One application process: it reads and writes through its `Db`, and writes down what it was told.
#![expect(clippy::print_stdout, reason = "what it finds goes to the process that has started it")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use db_platform::cache::relay::{Message, Relay, RelayConfig};
use db_platform::cache::{
    Cache, CacheConfig, Keyspace, Mode, RedisConfig, RedisTier, SecondTier, SessionToken, Tag,
};
use db_platform::{Config, Db, DbCache, Environment, Error, Result};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use rand::RngExt;
use serde_json::json;
use tokio::task::JoinSet;

use super::history::{Event, Promise};
use super::{BOUND, ROWS, rows};

/// The program's first argument in the processes that it starts.
pub(crate) const CHILD: &str = "chaos-child";

/// Two rows in one entry.
static PAIRS: Keyspace<(i64, i64), rows::Versions> = Keyspace::<(i64, i64), rows::Versions>::new("pairs")
    .policy(super::super::POLICY)
    .tags_of_key(|(first, second)| vec![Tag::row("rows", first), Tag::row("rows", second)]);

const READERS: usize = 8;
const WRITERS: usize = 2;
const BETWEEN_READS: Duration = Duration::from_millis(3);
const BETWEEN_WRITES: Duration = Duration::from_millis(100);

/// A key that is still old by then is old for good: the relay has long caught up.
const PATIENCE: Duration = Duration::from_secs(20);

struct App {
    db: Db,
    cache: Cache,
    relay: Relay,
    log: Mutex<BufWriter<File>>,
    reads: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    is_over: AtomicBool,
}

pub(crate) fn child() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live());
    // What still runs in it is of no interest.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

async fn live() {
    let app = Arc::new(App::start().await);
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    println!("ready");
    let mut tasks = JoinSet::new();
    for reader in 0..READERS {
        tasks.spawn(Arc::clone(&app).read_on(reader));
    }
    for _ in 0..WRITERS {
        tasks.spawn(Arc::clone(&app).write_on());
    }
    tasks.spawn(Arc::clone(&app).write_by_hand());
    tasks.spawn(Arc::clone(&app).report());
    while let Some(line) = told.recv().await {
        match line.as_str() {
            "stop" => {
                app.is_over.store(true, Ordering::SeqCst);
                while let Some(ended) = tasks.join_next().await {
                    ended.unwrap();
                }
                app.log.lock().unwrap().flush().unwrap();
                app.say_stats();
                println!("stopped");
            }
            _ => println!("stale {}", app.stale_for_good().await),
        }
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn row() -> i64 {
    rand::rng().random_range(1..=ROWS)
}

/// A row and the one behind it.
fn pair_from(row: i64) -> (i64, i64) {
    (row, row % ROWS + 1)
}

/// A pause around `mean`, so that no two tasks stay in step.
async fn rest(mean: Duration) {
    let part = rand::rng().random_range(0.2..1.8);
    tokio::time::sleep(mean.mul_f64(part)).await;
}

impl App {
    async fn start() -> App {
        let of = |name: &str| std::env::var(name).unwrap();
        let tier = RedisConfig {
            url: of("CHAOS_REDIS"),
            installation: "claims".to_owned(),
            ..RedisConfig::default()
        };
        let tier = Arc::new(RedisTier::new(&tier).unwrap());
        // The machine is small: what is slow here is no outage.
        let cache = CacheConfig {
            mode: Mode::Bounded(BOUND),
            tier_budget: Duration::from_millis(50),
            commit_budget: Duration::from_millis(200),
            longest_lease: Duration::from_secs(2),
            relay_within: Some(Duration::from_secs(3)),
            ..CacheConfig::default()
        };
        let cache = Cache::with_second_tier(cache, Arc::clone(&tier) as Arc<dyn SecondTier>);
        let relay = RelayConfig { longest_rest: Duration::from_secs(1), ..RelayConfig::default() };
        let relay = Relay::new(tier, relay);
        let mut config = Config::new(Environment::Test, of("CHAOS_PRIMARY").parse().unwrap());
        config.read_urls = vec![of("CHAOS_STANDBY").parse().unwrap()];
        config.pool.max = 16.try_into().unwrap();
        let with = DbCache::new(cache.clone()).relayed_by(relay.clone()).rows_of("rows");
        let db = Db::connect_with_cache(config, with, []).await.unwrap();
        let log = Mutex::new(BufWriter::new(File::create(of("CHAOS_LOG")).unwrap()));
        let [reads, failed, unknown] = std::array::from_fn(|_| AtomicU64::new(0));
        App { db, cache, relay, log, reads, failed, unknown, is_over: AtomicBool::new(false) }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn note(&self, event: Event) {
        let mut log = self.log.lock().unwrap();
        writeln!(log, "{event}").unwrap();
        if matches!(event, Event::Committed { .. }) {
            // Others may be checked against it, even if this process is killed right now.
            log.flush().unwrap();
        }
    }

    async fn read_on(self: Arc<Self>, reader: usize) {
        let mut turn = reader;
        while !self.is_over() {
            turn += 1;
            let (mode, promise) = match turn % 5 {
                0 | 1 => (Mode::Strict, Promise::Strict),
                2 | 3 => (Mode::Bounded(BOUND), Promise::Bounded),
                _ => (Mode::Ttl, Promise::Ttl),
            };
            self.read(pair_from(row()), mode, promise).await;
            rest(BETWEEN_READS).await;
        }
    }

    /// Reads a pair, and writes down what it found. A session is owed something of the first row only.
    async fn read(&self, pair: (i64, i64), mode: Mode, promise: Promise) {
        let began = now();
        let Ok(versions) = self.get(pair, mode).await else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        for (row, version) in versions {
            let promise = match promise {
                Promise::Session(_) if row != pair.0 => Promise::Ttl,
                other => other,
            };
            self.note(Event::Read { promise, row, version, began });
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    async fn get(&self, pair: (i64, i64), mode: Mode) -> std::result::Result<rows::Versions, String> {
        let load = async move |conn: &mut AsyncPgConnection| rows::of_pair(conn, pair).await.map(Some);
        let read = self.db.cached(PAIRS.key(pair).mode(mode), load).await;
        let found = read.map_err(|error| error.to_string())?.ok_or("there are no rows")?;
        Ok(found.clone())
    }

    async fn write_on(self: Arc<Self>) {
        while !self.is_over() {
            let row = row();
            let db = self.db.clone();
            let written = self.db.transaction(async move |conn: &mut AsyncPgConnection| {
                let version = rows::next_version(conn, row).await?;
                db.touch([Tag::row("rows", row)])?;
                Ok::<_, Error>(version)
            });
            match written.await {
                Ok(version) => self.note(Event::Committed { row, version, at: now(), fenced: false }),
                Err(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                }
            }
            rest(BETWEEN_WRITES).await;
        }
    }

    /// Transactions around which this program itself marks and bumps: every second one is fenced.
    async fn write_by_hand(self: Arc<Self>) {
        let mut fenced = false;
        while !self.is_over() {
            fenced = !fenced;
            let row = row();
            match self.write_one_by_hand(row, fenced).await {
                Ok(Some((version, token))) => {
                    self.note(Event::Committed { row, version, at: now(), fenced });
                    self.read(pair_from(row), Mode::Session(token), Promise::Session(version)).await;
                }
                Ok(None) => {}
                Err(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                }
            }
            rest(BETWEEN_WRITES).await;
        }
    }

    async fn write_one_by_hand(&self, row: i64, fenced: bool) -> Result<Option<(i64, SessionToken)>> {
        let mut conn = self.db.primary().await?;
        let transaction = if fenced { self.cache.fenced_transaction() } else { self.cache.transaction() };
        transaction.touch(Tag::row("rows", row));
        conn.batch_execute("BEGIN").await?;
        let version = rows::next_version(&mut conn, row).await?;
        if transaction.before_commit().await.is_err() {
            transaction.rolled_back().await;
            conn.batch_execute("ROLLBACK").await?;
            return Ok(None);
        }
        let message = Message { writer: transaction.writer(), slots: transaction.slots() };
        if let Some(sql) = self.relay.sql(&message) {
            conn.batch_execute(&sql).await?;
        }
        match conn.batch_execute("COMMIT").await {
            Ok(()) => Ok(Some((version, transaction.committed(None).await))),
            Err(error) => {
                transaction.outcome_unknown().await;
                Err(error.into())
            }
        }
    }

    async fn report(self: Arc<Self>) {
        while !self.is_over() {
            println!("reads {}", self.reads.load(Ordering::Relaxed));
            self.say_stats();
            rest(Duration::from_millis(500)).await;
        }
    }

    fn say_stats(&self) {
        let (stats, relay) = (self.cache.stats(), self.relay.status());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let drops: u64 = stats.drops.iter().map(|(_, times)| times).sum();
        let accidents: u64 = relay.accidents.values().sum();
        println!(
            "stats {}",
            json!({
                "reads": count(&self.reads), "failed_reads": count(&self.failed), "not_committed": count(&self.unknown),
                "first_tier_hits": stats.first_tier_hits, "second_tier_hits": stats.second_tier_hits,
                "loads": stats.loads, "drops": drops, "breaker_opened": stats.breaker_opened, "leads": relay.is_leader,
                "relayed": relay.messages, "accidents": accidents,
            })
        );
    }

    /// How many keys are still read as the database does not have them, in any mode.
    async fn stale_for_good(&self) -> u64 {
        let since = Instant::now();
        loop {
            let stale = self.stale_now().await;
            if stale == 0 || since.elapsed() > PATIENCE {
                return stale;
            }
            rest(Duration::from_millis(200)).await;
        }
    }

    async fn stale_now(&self) -> u64 {
        let mut conn = self.db.primary().await.unwrap();
        let rows: HashMap<i64, i64> = rows::all(&mut conn).await.unwrap().into_iter().collect();
        let mut stale = 0;
        for pair in (1..=ROWS).map(pair_from) {
            for mode in [Mode::Ttl, Mode::Bounded(BOUND), Mode::Strict] {
                let versions = self.get(pair, mode).await.unwrap();
                stale += u64::from(versions.iter().any(|(row, version)| rows[row] != *version));
            }
        }
        stale
    }
}
