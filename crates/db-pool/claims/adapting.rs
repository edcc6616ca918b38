//! pool-10: an adaptive limit does as well as the best fixed size, and pools that adapt leave the server room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_core::DatabaseUrl;
use db_pool::{AdaptiveConfig, ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::{Cluster, until};
use diesel::sql_query;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Figure, Size};

/// Within so much of the best fixed size.
const WITHIN: f64 = 0.9;
const SIZES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// More than the largest size, so that every size is used to the full.
const CALLERS: usize = 96;
/// How long a new pool may adapt before it is measured.
const ADAPTS: Duration = Duration::from_secs(8);
const FIXED: Duration = Duration::from_millis(600);
/// Long enough for the pool to go on trying other limits: what that costs is measured, too.
const ADAPTIVE: Duration = Duration::from_secs(2);
/// Not counted at the beginning of a turn.
const WARMS_UP: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
enum Load {
    Cpu,
    HotRow,
    Sleep,
}

impl Load {
    async fn once(self, conn: &mut AsyncPgConnection) -> diesel::QueryResult<usize> {
        match self {
            Load::Cpu => {
                sql_query("SELECT sum(sqrt(i)) FROM generate_series(1, 8000) AS i").execute(conn).await
            }
            Load::HotRow => {
                conn.transaction(async |conn| {
                    sql_query("UPDATE hot SET n = n + 1 WHERE id = 1").execute(conn).await
                })
                .await
            }
            Load::Sleep => sql_query("SELECT pg_sleep(0.02)").execute(conn).await,
        }
    }
}

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 24 } else { 6 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::builder().setting("max_connections", "400").start().await.unwrap();
        let mut conn = cluster.connect(0).await.unwrap();
        let hot = "CREATE TABLE hot (id int PRIMARY KEY, n bigint) WITH (fillfactor = 10); INSERT INTO hot VALUES (1, 0)";
        conn.batch_execute(hot).await.unwrap();
        let mut compared = Vec::new();
        for load in [Load::Cpu, Load::HotRow, Load::Sleep] {
            compared.push(compare(&cluster.primary_url(), load, rounds).await);
        }
        let shared = share(Duration::from_secs(10)).await;
        let worst = compared.iter().map(|load| load.ratio).fold(f64::INFINITY, f64::min);
        Figure {
            value: worst,
            unit: "of the best fixed size's throughput, the worst of three loads",
            holds: worst >= WITHIN && shared.holds(),
            detail: json!({
                "loads": compared.iter().map(Compared::shown).collect::<Vec<_>>(),
                "three_pools": shared.shown(),
            }),
        }
    })
}

/// The adaptive pool beside pools of fixed sizes, on one load.
struct Compared {
    load: Load,
    /// The median throughput of each size, a second.
    fixed: Vec<f64>,
    adaptive: f64,
    /// The median over the rounds, each against the best size's own turn in that round.
    ratio: f64,
    ratios: Vec<f64>,
    limits: Vec<usize>,
}

impl Compared {
    fn shown(&self) -> Value {
        json!({
            "load": format!("{:?}", self.load),
            "ratio": self.ratio,
            "ratios": self.ratios,
            "adaptive_per_second": self.adaptive.round(),
            "limits": self.limits,
            "sizes": SIZES,
            "fixed_per_second": self.fixed.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
        })
    }
}

async fn compare(url: &str, load: Load, rounds: usize) -> Compared {
    let fixed = SIZES.map(|size| open(url, fixed_config(size)));
    for (pool, size) in fixed.iter().zip(SIZES) {
        until("all connections are open", async || pool.status().open == size).await;
    }
    let adaptive = open(url, adaptive_config());
    run(&adaptive, load, ADAPTS).await;
    let mut turns: Vec<Vec<f64>> = vec![Vec::new(); SIZES.len()];
    let (mut adapted, mut limits) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Each round begins with another size, so that none is always next to the adaptive one.
        for turn in 0..SIZES.len() {
            let index = (turn + round) % SIZES.len();
            turns[index].push(run(&fixed[index], load, FIXED).await);
            if turn == SIZES.len() / 2 {
                adapted.push(run(&adaptive, load, ADAPTIVE).await);
                limits.push(adaptive.status().max);
            }
        }
    }
    let medians: Vec<f64> = turns.iter().map(|rates| median(rates)).collect();
    let best = (0..SIZES.len()).max_by(|one, other| medians[*one].total_cmp(&medians[*other])).unwrap();
    let ratios: Vec<f64> = adapted.iter().zip(&turns[best]).map(|(ours, best)| ours / best).collect();
    for pool in fixed.iter().chain([&adaptive]) {
        assert!(pool.shutdown(Duration::from_secs(10)).await.is_clean());
    }
    Compared { load, fixed: medians, adaptive: median(&adapted), ratio: median(&ratios), ratios, limits }
}

/// Three pools on one server that has not room enough for what they could use.
struct Shared {
    slots: usize,
    most_open: usize,
    refused: u64,
    outsiders: usize,
    turned_away: usize,
    open: Vec<usize>,
}

impl Shared {
    fn holds(&self) -> bool {
        self.most_open < self.slots && self.refused == 0 && self.turned_away == 0 && self.outsiders > 0
    }

    fn shown(&self) -> Value {
        json!({
            "max_connections": self.slots, "most_open": self.most_open, "refused": self.refused,
            "outsiders": self.outsiders, "outsiders_turned_away": self.turned_away, "open_at_the_end": self.open,
        })
    }
}

async fn share(lasts: Duration) -> Shared {
    const SLOTS: usize = 60;
    let cluster = Cluster::builder().setting("max_connections", SLOTS.to_string()).start().await.unwrap();
    let url = cluster.primary_url();
    let outsider: DatabaseUrl = url.parse().unwrap();
    let pools: Vec<Pool> = (0..3).map(|_| open(&url, adaptive_config())).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for pool in &pools {
        call(&mut callers, pool, Load::Sleep, &stop, &done);
    }
    let mut shared =
        Shared { slots: SLOTS, most_open: 0, refused: 0, outsiders: 0, turned_away: 0, open: Vec::new() };
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let open = pools.iter().map(|pool| pool.status().open).sum();
        shared.most_open = shared.most_open.max(open);
        let config = PoolConfig { acquire_timeout: Duration::from_secs(2), ..fixed_config(1) };
        let connector = Connector::new(outsider.clone(), ConnectConfig::default());
        let other = Pool::open(connector, outsider.hosts()[0].clone(), config);
        shared.outsiders += 1;
        shared.turned_away += usize::from(other.get().await.is_err());
        let _ = other.shutdown(Duration::from_secs(2)).await;
    }
    stop.store(true, Ordering::Relaxed);
    shared.open = pools.iter().map(|pool| pool.status().open).collect();
    shared.refused = pools.iter().map(|pool| pool.status().connect_errors).sum();
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    shared
}

fn fixed_config(size: usize) -> PoolConfig {
    PoolConfig {
        min: size,
        max: size.try_into().unwrap(),
        acquire_timeout: Duration::from_secs(60),
        ..PoolConfig::default()
    }
}

fn adaptive_config() -> PoolConfig {
    PoolConfig { min: 0, adaptive: Some(AdaptiveConfig::default()), ..fixed_config(64) }
}

fn open(url: &str, config: PoolConfig) -> Pool {
    let url: DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    Pool::open(Connector::new(url, ConnectConfig::default()), endpoint, config)
}

/// Lets all callers work on a pool for a while; returns how often they were served, a second.
async fn run(pool: &Pool, load: Load, lasts: Duration) -> f64 {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    call(&mut callers, pool, load, &stop, &done);
    tokio::time::sleep(WARMS_UP).await;
    let (begun, before) = (Instant::now(), AtomicU64::load(&done, Ordering::Relaxed));
    tokio::time::sleep(lasts).await;
    let served = AtomicU64::load(&done, Ordering::Relaxed) - before;
    let rate = served as f64 / begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    rate
}

fn call(callers: &mut JoinSet<()>, pool: &Pool, load: Load, stop: &Arc<AtomicBool>, done: &Arc<AtomicU64>) {
    for _ in 0..CALLERS {
        let (pool, stop, done) = (pool.clone(), Arc::clone(stop), Arc::clone(done));
        callers.spawn(async move {
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                let mut conn = pool.get().await.unwrap();
                load.once(&mut conn).await.unwrap();
                drop(conn);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
