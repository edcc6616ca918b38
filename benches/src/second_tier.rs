//! The second tier on a Redis of its own, against what a service writes by hand over a raw client.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_cache::{Cache, CacheConfig, Keyspace, Loaded, Mode, ReadAt, RedisConfig, RedisTier, Tag};
use db_testkit::{Cluster, Redis, until};
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::pairs::{Compared, Medians, Took, compare};
use crate::server::{one_thread, two_threads};

/// A thousand bytes, and four slots: the key's own, and these three.
static PAGES: Keyspace<u64, String> = Keyspace::new("pages")
    .mode(Mode::Strict)
    .tags_of_key(|id| vec![Tag::table("pages"), Tag::row("pages", id), Tag::named("site")]);

/// What a million entries have in common.
static ROWS: Keyspace<u64, u64> =
    Keyspace::new("rows").mode(Mode::Strict).tags_of_key(|_| vec![Tag::table("rows")]);

const KEYS: u64 = 200;
const BYTES: usize = 1_000;
const BATCH: u32 = 200;
const TASKS: u64 = 64;
const LOAD: Duration = Duration::from_millis(5);

struct Bench {
    _redis: Redis,
    cache: Cache,
    client: MultiplexedConnection,
}

impl Bench {
    async fn start() -> Self {
        let redis = Redis::start().await.unwrap();
        let config = RedisConfig { url: redis.url(), installation: "bench".into(), ..RedisConfig::default() };
        // What is measured is no outage, and the feed is silent meanwhile.
        let limits = CacheConfig {
            tier_budget: Duration::from_secs(5),
            feed_interval: Duration::from_secs(600),
            ..CacheConfig::default()
        };
        let cache = Cache::with_second_tier(limits, Arc::new(RedisTier::new(&config).unwrap()));
        let client = redis::Client::open(redis.url()).unwrap();
        let client = client.get_multiplexed_async_connection().await.unwrap();
        let bench = Bench { _redis: redis, cache, client };
        until("the second tier answers", async || {
            bench.hit(0).await;
            bench.cache.stats().second_tier_hits > 0
        })
        .await;
        for id in 0..KEYS {
            bench.hit(id).await;
            bench.set(id).await;
        }
        bench
    }

    async fn hit(&self, id: u64) {
        let load =
            move |_| async move { Ok::<_, Infallible>(Loaded::new(Some(page(id)), ReadAt::Primary(None))) };
        let found = self.cache.get_with(&PAGES.key(id), load).await.unwrap().unwrap();
        assert_eq!(found.len(), BYTES);
    }

    async fn get(&self, id: u64) -> Option<String> {
        redis::cmd("GET").arg(id).query_async(&mut self.client.clone()).await.unwrap()
    }

    async fn set(&self, id: u64) {
        redis::cmd("SET").arg(id).arg(page(id)).exec_async(&mut self.client.clone()).await.unwrap();
    }
}

fn page(id: u64) -> String {
    format!("{id:0>BYTES$}")
}

/// A hit, re-validated and decoded, against a raw GET of as many bytes.
pub fn hits(pairs: usize) -> Compared {
    one_thread().block_on(async {
        let bench = Bench::start().await;
        let before = bench.cache.stats().second_tier_hits;
        let compared = compare(
            pairs,
            async || {
                Took::of(BATCH, async {
                    for id in 0..u64::from(BATCH) {
                        bench.hit(id % KEYS).await;
                    }
                })
                .await
            },
            async || {
                Took::of(BATCH, async {
                    for id in 0..u64::from(BATCH) {
                        assert_eq!(bench.get(id % KEYS).await.map(|page| page.len()), Some(BYTES));
                    }
                })
                .await
            },
        )
        .await;
        assert!(bench.cache.stats().second_tier_hits - before >= pairs as u64 * u64::from(BATCH));
        compared
    })
}

/// Hits a second of so many tasks, against raw GETs of as many.
pub fn throughput(tasks: u64, rounds: usize) -> Medians {
    const TURN: Duration = Duration::from_millis(300);
    two_threads().block_on(async {
        let bench = Arc::new(Bench::start().await);
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            let ours = a_second(&bench, tasks, TURN, Side::Ours).await;
            pairs.push((ours, a_second(&bench, tasks, TURN, Side::Peer).await));
        }
        Medians::of(&pairs)
    })
}

#[derive(Clone, Copy)]
enum Side {
    Ours,
    Peer,
}

async fn a_second(bench: &Arc<Bench>, tasks: u64, turn: Duration, side: Side) -> f64 {
    let (done, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut all = JoinSet::new();
    for task in 0..tasks {
        let (bench, done) = (Arc::clone(bench), Arc::clone(&done));
        all.spawn(async move {
            let mut id = task;
            while started.elapsed() < turn {
                match side {
                    Side::Ours => bench.hit(id % KEYS).await,
                    Side::Peer => assert!(bench.get(id % KEYS).await.is_some()),
                }
                done.fetch_add(1, Ordering::Relaxed);
                id += 1;
            }
        });
    }
    all.join_all().await;
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Loads for each of 100 cold keys that 64 tasks ask for at once, against GET, load, SET by hand.
pub fn stampede(rounds: u64) -> Medians {
    const COLD: u64 = 100;
    two_threads().block_on(async {
        let bench = Arc::new(Bench::start().await);
        let mut pairs = Vec::new();
        for round in 1..=rounds {
            let mut loads = [0.0; 2];
            for (side, loads) in [Side::Ours, Side::Peer].into_iter().zip(&mut loads) {
                let (count, mut all) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
                for _ in 0..TASKS {
                    let (bench, count) = (Arc::clone(&bench), Arc::clone(&count));
                    all.spawn(async move {
                        for id in (KEYS + round * COLD..).take(COLD as usize) {
                            cold(&bench, id, side, &count).await;
                        }
                    });
                }
                all.join_all().await;
                *loads = count.load(Ordering::Relaxed) as f64 / COLD as f64;
            }
            pairs.push((loads[0], loads[1]));
        }
        Medians::of(&pairs)
    })
}

async fn cold(bench: &Bench, id: u64, side: Side, loads: &Arc<AtomicU64>) {
    let load = {
        let loads = Arc::clone(loads);
        move || {
            let loads = Arc::clone(&loads);
            async move {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(LOAD).await;
                page(id)
            }
        }
    };
    match side {
        Side::Ours => {
            let load = move |_| {
                let load = load();
                async move { Ok::<_, Infallible>(Loaded::new(Some(load.await), ReadAt::Primary(None))) }
            };
            assert!(bench.cache.get_with(&PAGES.key(id), load).await.unwrap().is_some());
        }
        Side::Peer if bench.get(id).await.is_none() => {
            load().await;
            bench.set(id).await;
        }
        Side::Peer => {}
    }
}

/// Invalidating what so many entries have in common, against a set of their names, read and unlinked; in
/// microseconds.
pub fn invalidation(entries: u64) -> Medians {
    const CALLS: u64 = 200;
    two_threads().block_on(async {
        let bench = Arc::new(Bench::start().await);
        let mut all = JoinSet::new();
        for task in 0..TASKS {
            let bench = Arc::clone(&bench);
            all.spawn(async move {
                for id in (task..entries).step_by(TASKS as usize) {
                    row(&bench.cache, id).await;
                }
            });
        }
        all.join_all().await;
        let loads = bench.cache.stats().loads;
        row(&bench.cache, entries / 2).await;
        assert_eq!(bench.cache.stats().loads, loads, "the entries are served before");
        let started = Instant::now();
        for _ in 0..CALLS {
            bench.cache.invalidate(&[Tag::table("rows")]).await;
        }
        let ours = started.elapsed().as_secs_f64() * 1e6 / CALLS as f64;
        row(&bench.cache, entries / 2).await;
        assert_eq!(bench.cache.stats().loads, loads + 1, "and not after");
        Medians::of(&[(ours, by_name(&bench.client, entries).await)])
    })
}

async fn row(cache: &Cache, id: u64) {
    let load = move |_| async move { Ok::<_, Infallible>(Loaded::new(Some(id), ReadAt::Primary(None))) };
    assert!(cache.get_with(&ROWS.key(id), load).await.unwrap().is_some());
}

/// What it takes to unlink all that a set names.
async fn by_name(client: &MultiplexedConnection, entries: u64) -> f64 {
    const PART: usize = 1_000;
    let mut client = client.clone();
    let names: Vec<String> = (0..entries).map(|id| format!("by-name:{id}")).collect();
    for part in names.chunks(PART) {
        let mut pipeline = redis::pipe();
        part.iter().for_each(|name| {
            pipeline.cmd("SET").arg(name).arg(1).ignore();
            pipeline.cmd("SADD").arg("by-name").arg(name).ignore();
        });
        pipeline.exec_async(&mut client).await.unwrap();
    }
    let (started, mut cursor, mut unlinked) = (Instant::now(), 0_u64, 0);
    loop {
        let mut scan = redis::cmd("SSCAN");
        scan.arg("by-name").arg(cursor).arg("COUNT").arg(PART);
        let (next, found): (u64, Vec<String>) = scan.query_async(&mut client).await.unwrap();
        if !found.is_empty() {
            let unlink = redis::cmd("UNLINK").arg(&found).query_async::<u64>(&mut client).await;
            unlinked += unlink.unwrap();
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let _: u64 = redis::cmd("UNLINK").arg("by-name").query_async(&mut client).await.unwrap();
    assert_eq!(unlinked, entries);
    started.elapsed().as_secs_f64() * 1e6
}

/// A transaction of one UPDATE with its mark and its bump, against one without, on a server that flushes its
/// log.
pub fn commits(pairs: usize) -> Compared {
    const COMMITS: u32 = 20;
    const SETUP: &str = "CREATE TABLE pages (id int PRIMARY KEY, n int); \
                         INSERT INTO pages SELECT i, 0 FROM generate_series(1, 1000) AS i";
    one_thread().block_on(async {
        let bench = Bench::start().await;
        let cluster = Cluster::builder().setting("fsync", "on").start().await.unwrap();
        let (client, connection) = tokio_postgres::connect(&cluster.primary_url(), NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        client.batch_execute(SETUP).await.unwrap();
        let update = client.prepare("UPDATE pages SET n = n + 1 WHERE id = $1").await.unwrap();
        let compared = compare(
            pairs,
            async || {
                Took::of(COMMITS, async {
                    for id in 1..=COMMITS {
                        let transaction = bench.cache.transaction();
                        client.batch_execute("BEGIN").await.unwrap();
                        client.execute(&update, &[&i32::try_from(id).unwrap()]).await.unwrap();
                        transaction.touch(Tag::row("pages", id));
                        transaction.before_commit().await.unwrap();
                        client.batch_execute("COMMIT").await.unwrap();
                        assert!(transaction.committed(None).await.feed.is_some());
                    }
                })
                .await
            },
            async || {
                Took::of(COMMITS, async {
                    for id in 1..=COMMITS {
                        client.batch_execute("BEGIN").await.unwrap();
                        client.execute(&update, &[&i32::try_from(id).unwrap()]).await.unwrap();
                        client.batch_execute("COMMIT").await.unwrap();
                    }
                })
                .await
            },
        )
        .await;
        driver.abort();
        compared
    })
}
