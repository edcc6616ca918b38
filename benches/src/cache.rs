//! A hit in the first tier, with all its checks, against a raw hit of other people's maps.
//!
//! 10,000 entries are resident of 100,000 that there is room for; each side gets the same keys in the same
//! order. They are drawn evenly: no entry is hotter than another, so each side waits for memory as much as it
//! ever will. All sides' entries are more than a core's own cache holds, as a service's are. Ours makes its
//! key from the keyspace and the number on each hit, as a caller does; the peers' keys are the number itself.

use std::hint::black_box;
use std::sync::Arc;

use db_cache::{Cache, CacheConfig, Keyspace, Loaded, ReadAt, Tag};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::pairs::{Compared, Took, compare};

/// A row of a hundred bytes or so.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    numbers: [u64; 6],
}

/// Three slots: the key's own, and these two.
static ROWS: Keyspace<u64, Row> =
    Keyspace::new("rows").tags_of_key(|id| vec![Tag::row("rows", id), Tag::table("rows")]);

const RESIDENT: u64 = 10_000;
const ROOM: u64 = 100_000;

/// A batch: long enough that the clock costs nothing.
const OPERATIONS: u32 = 20_000;

/// What hits cost.
pub struct Hits {
    /// Against moka's `sync::Cache`.
    pub moka: Compared,
    /// Against quick_cache's `sync::Cache`, which ours stands on.
    pub quick_cache: Compared,
    /// How many allocations a batch of hits makes.
    pub allocations: u64,
}

/// Measures hits in so many pairs against each peer.
///
/// # Panics
/// Where no runtime can be made, or a key misses that is resident.
pub fn first_tier_hits(pairs: usize) -> Hits {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(measure(pairs))
}

async fn measure(pairs: usize) -> Hits {
    let cache = Cache::new(CacheConfig { max_memory_bytes: ROOM * 1_024, ..CacheConfig::default() });
    let moka: moka::sync::Cache<u64, Arc<Row>> = moka::sync::Cache::new(ROOM);
    let quick = quick_cache::sync::Cache::<u64, Arc<Row>>::new(ROOM as usize);
    for id in 0..RESIDENT {
        // In turns, as loads come: no side's rows lie closer together than another's.
        moka.insert(id, Arc::new(row(id)));
        quick.insert(id, Arc::new(row(id)));
        cache.get_with(&ROWS.key(id), move |_| load(id)).await.unwrap();
    }
    fill(&cache).await;
    let mut random = SmallRng::seed_from_u64(7);
    let keys: Vec<u64> = (0..OPERATIONS).map(|_| random.random_range(0..RESIDENT)).collect();
    let ours = async || Took::of(OPERATIONS, hits(&cache, &keys)).await;
    let of_moka = async || {
        Took::of(OPERATIONS, async {
            for key in &keys {
                black_box(moka.get(key).unwrap().id);
            }
        })
        .await
    };
    let of_quick = async || {
        Took::of(OPERATIONS, async {
            for key in &keys {
                black_box(quick.get(key).unwrap().id);
            }
        })
        .await
    };
    let moka = compare(pairs, ours, of_moka).await;
    let quick_cache = compare(pairs, ours, of_quick).await;
    let counted = allocation_counter::measure(|| {
        for key in &keys {
            black_box(cache.peek(&ROWS.key(*key)).unwrap().id);
        }
    });
    Hits { moka, quick_cache, allocations: counted.count_total }
}

/// Reads as a service does.
async fn hits(cache: &Cache, keys: &[u64]) {
    for key in keys {
        let id = *key;
        let found = cache.get_with(&ROWS.key(id), move |_| load(id)).await;
        black_box(found.unwrap().unwrap().id);
    }
}

/// Loads every key, until the first tier answers all of them.
async fn fill(cache: &Cache) {
    for _ in 0..100 {
        let misses = (0..RESIDENT).filter(|id| cache.peek(&ROWS.key(*id)).is_none()).count();
        if misses == 0 {
            return;
        }
        for id in 0..RESIDENT {
            cache.get_with(&ROWS.key(id), move |_| load(id)).await.unwrap();
        }
    }
    panic!("the first tier does not keep what was loaded");
}

async fn load(id: u64) -> Result<Loaded<Row>, std::convert::Infallible> {
    Ok(Loaded::new(Some(row(id)), ReadAt::Primary(None)))
}

fn row(id: u64) -> Row {
    Row { id, name: format!("the row of number {id}"), numbers: [id; 6] }
}
