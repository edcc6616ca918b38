//! pool-10: an adaptive limit does as well as the best fixed size, and pools that adapt leave the server
//! room.

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
/// As long for all: of a throughput that stalls now and then, the median over short turns is higher than over
/// long ones. Long enough for the adaptive pool to go on trying other limits: what that costs is measured,
/// too.
const TURN: Duration = Duration::from_millis(600);
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

/// The line whose removal this must notice: `self.adapt(&pool)` in `upkeep.rs`, without which the first limit
/// stays; for what is left on the server, `.min(self.room.granted())` in `adaptive.rs`.
pub(crate) fn measure(size: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::builder().setting("max_connections", "400").start().await.unwrap();
        let mut conn = cluster.connect(0).await.unwrap();
        let hot = "CREATE TABLE hot (id int PRIMARY KEY, n bigint) WITH (fillfactor = 10); INSERT INTO hot VALUES (1, 0)";
        conn.batch_execute(hot).await.unwrap();
        let mut compared = Vec::new();
        for load in [Load::Cpu, Load::HotRow, Load::Sleep] {
            compared.push(compare(&cluster.primary_url(), load, size).await);
        }
        let shared = share(Duration::from_secs(10)).await;
        let worst = compared.iter().map(Compared::ratio).fold(f64::INFINITY, f64::min);
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

/// The adaptive pool against the best of the fixed sizes, on one load.
struct Compared {
    load: Load,
    /// The median throughput of each size, a second.
    swept: Vec<f64>,
    /// The two best sizes; and against each, how often the throughput the adaptive pool had, turn by turn.
    rivals: [usize; 2],
    ratios: [Vec<f64>; 2],
    /// The first rival against the second: what the machine's noise does to two pools that do not adapt.
    rivals_ratio: Vec<f64>,
    limits: Vec<usize>,
}

impl Compared {
    /// The median against the stronger rival.
    fn ratio(&self) -> f64 {
        self.ratios.iter().map(|ratios| median(ratios)).fold(f64::INFINITY, f64::min)
    }

    fn shown(&self) -> Value {
        let rivals = self.rivals.iter().zip(&self.ratios).map(|(size, ratios)| {
            json!({ "size": size, "ratio": median(ratios), "interval": interval(ratios), "pairs": ratios.len() })
        });
        json!({
            "load": format!("{:?}", self.load),
            "ratio": self.ratio(),
            "rivals": rivals.collect::<Vec<_>>(),
            "rivals_ratio": median(&self.rivals_ratio),
            "rivals_interval": interval(&self.rivals_ratio),
            "limits": self.limits,
            "sizes": SIZES,
            "swept_per_second": self.swept.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
        })
    }
}

async fn compare(url: &str, load: Load, size: Size) -> Compared {
    let (sweeps, pairs) = if size == Size::Nightly { (8, 120) } else { (2, 30) };
    let fixed = SIZES.map(|size| open(url, fixed_config(size)));
    for (pool, size) in fixed.iter().zip(SIZES) {
        until("all connections are open", async || pool.status().open == size).await;
    }
    let mut turns: Vec<Vec<f64>> = vec![Vec::new(); SIZES.len()];
    for _ in 0..sweeps {
        for (pool, rates) in fixed.iter().zip(&mut turns) {
            rates.push(run(pool, load, TURN).await);
        }
    }
    let swept: Vec<f64> = turns.iter().map(|rates| median(rates)).collect();
    let mut order: Vec<usize> = (0..SIZES.len()).collect();
    order.sort_by(|one, other| swept[*other].total_cmp(&swept[*one]));
    let rivals = [order[0], order[1]];

    let adaptive = open(url, adaptive_config());
    run(&adaptive, load, ADAPTS).await;
    let (mut ratios, mut limits, mut rivals_ratio) = ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
    // Each turn of the adaptive pool lies between one of each rival, so that noise hits all alike.
    let mut before = run(&fixed[rivals[0]], load, TURN).await;
    for pair in 0..pairs {
        let ours = run(&adaptive, load, TURN).await;
        limits.push(adaptive.status().max);
        let next = (pair + 1) % 2;
        let after = run(&fixed[rivals[next]], load, TURN).await;
        ratios[1 - next].push(ours / before);
        ratios[next].push(ours / after);
        rivals_ratio.push(if next == 1 { before / after } else { after / before });
        before = after;
    }
    for pool in fixed.iter().chain([&adaptive]) {
        assert!(pool.shutdown(Duration::from_secs(10)).await.is_clean());
    }
    Compared { load, swept, rivals: rivals.map(|index| SIZES[index]), ratios, rivals_ratio, limits }
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
        let config = PoolConfig { acquire_timeout: Some(Duration::from_secs(2)), ..fixed_config(1) };
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
        acquire_timeout: Some(Duration::from_secs(60)),
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

/// In which the median lies with 95 % certainty, whatever the distribution is.
fn interval(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (count, last) = (sorted.len() as f64, sorted.len() - 1);
    let margin = 0.98 * count.sqrt();
    [(count / 2.0 - margin).floor().max(0.0) as usize, ((count / 2.0 + margin).ceil() as usize).min(last)]
        .map(|rank| sorted[rank])
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
