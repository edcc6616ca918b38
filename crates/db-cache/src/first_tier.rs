//! The tier in this process: entries of every keyspace in one map, bounded by bytes and by number.

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use quick_cache::sync::Cache as Map;
use quick_cache::{Lifecycle, Weighter};

use crate::entry::{Entry, Head, Origin};
use crate::key_id::KeyId;

/// Entries by the hash of their key. The key's bytes are compared on every hit: a hash proves nothing.
pub(crate) struct FirstTier {
    map: Map<u64, Held, Weigh, KeyIsHash, Count>,
    evicted: Arc<AtomicU64>,
}

/// An entry, whatever its value is.
type Held = Arc<dyn AnyEntry>;

trait AnyEntry: Any + Send + Sync {
    fn parts(&self) -> (&Head, &Origin);
}

impl<T: Send + Sync + 'static> AnyEntry for Entry<T> {
    fn parts(&self) -> (&Head, &Origin) {
        (&self.head, &self.origin)
    }
}

#[derive(Clone)]
struct Weigh;

#[derive(Clone)]
struct Count(Arc<AtomicU64>);

#[derive(Clone)]
struct KeyIsHash;

struct Itself(u64);

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
    #[inline]
    pub(crate) fn get<T: Send + Sync + 'static>(&self, id: &KeyId) -> Option<Arc<Entry<T>>> {
        let held: Arc<dyn Any + Send + Sync> = self.map.get(&id.place())?;
        let entry = held.downcast::<Entry<T>>().ok()?;
        (entry.head.key == *id.key()).then_some(entry)
    }

    /// Keeps an entry whose value takes so many bytes.
    pub(crate) fn insert<T>(&self, mut entry: Entry<T>, value_bytes: usize) -> Arc<Entry<T>>
    where
        T: Send + Sync + 'static,
    {
        let shell = size_of::<Entry<T>>() + entry.head.key.heap_bytes() + size_of_val(&*entry.origin.stamps);
        entry.origin.bytes = OVERHEAD.saturating_add((shell as u64).saturating_add(value_bytes as u64));
        let entry = Arc::new(entry);
        self.map.insert(entry.head.key.place(), Arc::clone(&entry) as Held);
        entry
    }

    /// What a new entry begins with: half of what was noted with the one before, so that what was hot long
    /// ago cools down.
    pub(crate) fn asks_of_predecessor(&self, id: &KeyId) -> AtomicU32 {
        let held = self.map.get(&id.place());
        let head = held.as_ref().map(|held| held.parts().0).filter(|head| head.key == *id.key());
        AtomicU32::new(head.map_or(0, |head| head.asks.load(Ordering::Relaxed)) / 2)
    }

    /// Looks at every entry.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Head, &Origin)) {
        for (_, held) in self.map.iter() {
            let (head, origin) = held.parts();
            look(head, origin);
        }
    }

    /// Drops a key's entry.
    pub(crate) fn remove(&self, id: &KeyId) {
        self.map.remove(&id.place());
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

impl Weighter<u64, Held> for Weigh {
    fn weight(&self, _: &u64, held: &Held) -> u64 {
        held.parts().1.bytes
    }
}

impl Lifecycle<u64, Held> for Count {
    /// What was evicted is dropped outside of the map's lock: a value's own code runs then.
    type RequestState = [Option<Held>; 2];

    fn on_evict(&self, state: &mut Self::RequestState, _: u64, held: Held) {
        self.0.fetch_add(1, Ordering::Relaxed);
        if let Some(free) = state.iter_mut().find(|held| held.is_none()) {
            *free = Some(held);
        }
    }
}

impl BuildHasher for KeyIsHash {
    type Hasher = Itself;

    fn build_hasher(&self) -> Itself {
        Itself(0)
    }
}

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
