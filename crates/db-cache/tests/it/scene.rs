//! Caches on a second tier in memory, on a clock that a test turns, and a source that loads read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_cache::simulation::SimulatedTier;
use db_cache::{
    Cache, CacheConfig, CacheError, Cached, Foundation, Key, LoadFrom, Loaded, Random, ReadAt, SecondTier,
    TokioClock,
};
use tokio::sync::Semaphore;

/// A second tier that processes share.
pub(crate) struct Scene {
    pub(crate) tier: Arc<SimulatedTier>,
    clock: Arc<TokioClock>,
}

/// What loads read, how often they did, and whether they hang or fail.
#[derive(Debug)]
pub(crate) struct Source {
    value: Mutex<Option<&'static str>>,
    pub(crate) loads: AtomicU64,
    pub(crate) fails: AtomicBool,
    gate: Semaphore,
    /// How many loads are under way: what a load that is given up leaves behind.
    pub(crate) under_way: AtomicU64,
}

/// A load failed.
#[derive(Debug)]
pub(crate) struct Down;

struct UnderWay(Arc<Source>);

type Read = Result<Option<Cached<String>>, CacheError<Down>>;

/// More loads than any test makes.
const OPEN: usize = 1 << 20;

impl Scene {
    pub(crate) fn new() -> Self {
        Scene { tier: Arc::new(SimulatedTier::seeded(5)), clock: Arc::new(TokioClock::start()) }
    }

    /// The cache of one more process, which trusts the tier.
    pub(crate) async fn process(&self, config: CacheConfig) -> Cache {
        let foundation = Foundation {
            tier: Some(Arc::clone(&self.tier) as Arc<dyn SecondTier>),
            clock: Arc::clone(&self.clock) as _,
            random: Random::from_entropy(),
            ..Foundation::default()
        };
        let cache = Cache::on(config, foundation);
        db_testkit::until("the feed is read", async || cache.stats().feed_lag.is_some()).await;
        cache
    }
}

impl Source {
    pub(crate) fn of(value: &'static str) -> Arc<Self> {
        Source::new(Some(value))
    }

    pub(crate) fn new(value: Option<&'static str>) -> Arc<Self> {
        Arc::new(Source {
            value: Mutex::new(value),
            loads: AtomicU64::new(0),
            fails: AtomicBool::new(false),
            gate: Semaphore::new(OPEN),
            under_way: AtomicU64::new(0),
        })
    }

    pub(crate) fn set(&self, value: &'static str) {
        *self.value.lock().unwrap() = Some(value);
    }

    /// From now on loads hang once they have read.
    pub(crate) fn hang(&self) {
        self.gate.forget_permits(OPEN);
    }

    pub(crate) fn go_on(&self) {
        self.gate.add_permits(OPEN);
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// Reads a key through a cache.
    pub(crate) async fn read<K: serde::Serialize>(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key<K, String>,
    ) -> Read {
        self.read_at(cache, key, |_| ReadAt::Primary(None)).await
    }

    /// The same, where loads say that they read there.
    pub(crate) async fn read_at<K: serde::Serialize>(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key<K, String>,
        place: impl Fn(LoadFrom) -> ReadAt + Send + Sync + Copy + 'static,
    ) -> Read {
        let source = Arc::clone(self);
        let load = move |from| {
            let source = Arc::clone(&source);
            async move {
                source.loads.fetch_add(1, Ordering::SeqCst);
                source.under_way.fetch_add(1, Ordering::SeqCst);
                let _under_way = UnderWay(Arc::clone(&source));
                let value = *source.value.lock().unwrap();
                let _passed = source.gate.acquire().await;
                match source.fails.load(Ordering::SeqCst) {
                    true => Err(Down),
                    false => Ok(Loaded::new(value.map(str::to_owned), place(from))),
                }
            }
        };
        cache.get_with(key, load).await
    }

    /// What a read answers with, and whether its time was over.
    pub(crate) async fn get<K: serde::Serialize>(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key<K, String>,
    ) -> (String, bool) {
        let found = self.read(cache, key).await.unwrap().unwrap();
        (found.to_string(), Cached::is_stale(&found))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Turns the clock.
pub(crate) async fn after(time: Duration) {
    tokio::time::sleep(time).await;
}
