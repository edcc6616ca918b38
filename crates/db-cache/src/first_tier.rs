//! The tier in this process: entries of every keyspace in one map, bounded by bytes and by number.

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use quick_cache::sync::Cache as Map;
use quick_cache::{Lifecycle, Weighter};

use crate::entry::{Entry, Head};
use crate::key::KeyId;

/// Entries by the hash of their key. The key's bytes are compared on every hit: a hash proves nothing.
pub(crate) struct FirstTier {
    map: Map<u128, Held, Weigh, KeyIsHash, Count>,
    evicted: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Held {
    entry: Arc<dyn Any + Send + Sync>,
    /// Finds the head without knowing the value's type.
    head: fn(&Erased) -> Option<&Head>,
    bytes: u64,
}

type Erased = dyn Any + Send + Sync;

#[derive(Clone)]
struct Weigh;

#[derive(Clone)]
struct Count(Arc<AtomicU64>);

#[derive(Clone)]
struct KeyIsHash;

struct LowHalf(u64);

/// What an entry takes besides its key and its value: the two allocations, the head, the map's own share.
const OVERHEAD: u64 = 256;

impl FirstTier {
    /// A tier of at most so many bytes, which expects so many entries.
    pub(crate) fn new(max_bytes: u64, expected_entries: usize) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let count = Count(Arc::clone(&evicted));
        let map = Map::with(expected_entries, max_bytes, Weigh, KeyIsHash, count);
        FirstTier { map, evicted }
    }

    /// The entry of a key, whether it may be served or not; none where it is of another type.
    pub(crate) fn get<T: Send + Sync + 'static>(&self, id: &KeyId) -> Option<Arc<Entry<T>>> {
        let held = self.map.get(&id.hash())?;
        let entry = held.entry.downcast::<Entry<T>>().ok()?;
        (entry.head.id.bytes() == id.bytes()).then_some(entry)
    }

    /// Keeps an entry whose value takes so many bytes.
    pub(crate) fn insert<T: Send + Sync + 'static>(&self, entry: Arc<Entry<T>>, value_bytes: usize) {
        let Head { id, stamps, .. } = &entry.head;
        let shell = size_of::<Entry<T>>() + id.bytes().len() + size_of_val::<[_]>(stamps);
        let bytes = OVERHEAD.saturating_add((shell as u64).saturating_add(value_bytes as u64));
        self.map.insert(id.hash(), Held { entry, head: head_of::<T>, bytes });
    }

    /// What a new entry begins with: half of what was noted with the one before, so that what was hot long ago cools down.
    pub(crate) fn asks_of_predecessor(&self, id: &KeyId) -> AtomicU32 {
        let asks = self.map.get(&id.hash()).and_then(|held| {
            let head = (held.head)(&*held.entry)?;
            (head.id.bytes() == id.bytes()).then(|| head.asks.load(Ordering::Relaxed))
        });
        AtomicU32::new(asks.unwrap_or(0) / 2)
    }

    /// Looks at the head of every entry.
    pub(crate) fn for_each_head(&self, mut look: impl FnMut(&Head)) {
        for (_, held) in self.map.iter() {
            if let Some(head) = (held.head)(&*held.entry) {
                look(head);
            }
        }
    }

    /// Drops a key's entry.
    pub(crate) fn remove(&self, id: &KeyId) {
        self.map.remove(&id.hash());
    }

    /// How many bytes its entries take.
    pub(crate) fn bytes(&self) -> u64 {
        self.map.weight()
    }

    /// How many entries it has.
    pub(crate) fn entries(&self) -> u64 {
        self.map.len() as u64
    }

    /// How many entries had to go for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

fn head_of<T: Send + Sync + 'static>(entry: &Erased) -> Option<&Head> {
    entry.downcast_ref::<Entry<T>>().map(|entry| &entry.head)
}

impl Weighter<u128, Held> for Weigh {
    fn weight(&self, _: &u128, held: &Held) -> u64 {
        held.bytes
    }
}

impl Lifecycle<u128, Held> for Count {
    /// What was evicted is dropped outside of the map's lock: a value's own code runs then.
    type RequestState = [Option<Held>; 2];

    fn on_evict(&self, state: &mut Self::RequestState, _: u128, held: Held) {
        self.0.fetch_add(1, Ordering::Relaxed);
        if let Some(free) = state.iter_mut().find(|held| held.is_none()) {
            *free = Some(held);
        }
    }
}

impl BuildHasher for KeyIsHash {
    type Hasher = LowHalf;

    fn build_hasher(&self) -> LowHalf {
        LowHalf(0)
    }
}

impl Hasher for LowHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
