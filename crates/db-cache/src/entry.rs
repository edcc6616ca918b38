//! An entry of the first tier, and what a caller gets of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::key::KeyId;
use crate::knowledge::Knowledge;
use crate::tag::Slot;

/// A value from the cache. It is shared: cloning it copies no value.
///
/// ```no_run
/// # fn show(user: db_cache::Cached<String>) {
/// let length = user.len();
/// if db_cache::Cached::is_stale(&user) {
///     println!("{length} letters, but the database could not be asked");
/// }
/// # }
/// ```
pub struct Cached<V> {
    pub(crate) entry: Arc<Entry<V>>,
    pub(crate) stale: bool,
}

/// What a lookup came to: a value, or the knowledge that there is none.
pub(crate) enum Found<V> {
    Value(Cached<V>),
    Nothing { stale: bool },
}

/// Stands for a value where there is none.
pub(crate) struct Nothing;

/// A value with all that tells whether it may be served.
#[repr(C)]
pub(crate) struct Entry<V> {
    pub(crate) head: Head,
    pub(crate) value: V,
}

/// All that tells whether an entry may be served.
///
/// What every hit reads comes first, so that it lies in one or two cache lines: most of what a hit costs is waiting for memory.
#[repr(C)]
pub(crate) struct Head {
    /// [`Knowledge::changes`] when the stamps were last compared and found to be what the table says; 0 is never.
    pub(crate) compared: AtomicU64,
    pub(crate) fresh_until: Moment,
    /// From when on a hit may load it anew.
    pub(crate) early_from: Moment,
    /// Whether the stamps are the second tier's; else they are what this process knew while it was down.
    pub(crate) is_confirmed: bool,
    /// How often it was asked for, one hit in [`ASKS_EVERY`](crate::cache::ASKS_EVERY), with half of what its predecessor had.
    pub(crate) asks: AtomicU32,
    pub(crate) id: KeyId,
    pub(crate) epoch: u64,
    /// Each slot with its word when the load began.
    pub(crate) stamps: Box<[(Slot, u64)]>,
    /// When the load's snapshot was at the earliest.
    pub(crate) as_of: Moment,
    pub(crate) stale_until: Moment,
    pub(crate) cost: Duration,
    /// What it takes in the first tier with its value; 0 where it is not there.
    pub(crate) bytes: u64,
}

impl Head {
    /// Whether nothing that it was made from has changed, as far as this process knows.
    #[inline]
    pub(crate) fn is_valid(&self, knowledge: &Knowledge) -> bool {
        // Taken before the words: what changes from here on makes it another number, and they are compared again.
        let changes = knowledge.changes();
        self.compared.load(Ordering::Relaxed) == changes || self.compare(knowledge, changes)
    }

    fn compare(&self, knowledge: &Knowledge, changes: u64) -> bool {
        let is_valid = self.epoch == knowledge.epoch()
            && (self.epoch != 0 || !self.is_confirmed)
            && self.stamps.iter().all(|(slot, word)| knowledge.word(*slot) == *word);
        if is_valid {
            self.compared.store(changes, Ordering::Relaxed);
        }
        is_valid
    }
}

impl<V> Cached<V> {
    /// Whether its time was over, and the database could not be asked or is being asked. It is not known to be wrong.
    pub fn is_stale(this: &Self) -> bool {
        this.stale
    }
}

impl<V> Deref for Cached<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.entry.value
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Cached { entry: Arc::clone(&self.entry), stale: self.stale }
    }
}

impl<V: fmt::Debug> fmt::Debug for Cached<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.value.fmt(f)
    }
}

impl<V> Found<V> {
    /// A value that is in no tier.
    pub(crate) fn unkept(id: KeyId, value: Option<V>) -> Self {
        let Some(value) = value else { return Found::Nothing { stale: false } };
        let at = Moment::default();
        let head = Head {
            compared: AtomicU64::default(),
            id,
            epoch: 0,
            stamps: Box::default(),
            is_confirmed: true,
            as_of: at,
            fresh_until: at,
            stale_until: at,
            early_from: at,
            cost: Duration::ZERO,
            asks: AtomicU32::new(0),
            bytes: 0,
        };
        Found::Value(Cached { entry: Arc::new(Entry { head, value }), stale: false })
    }

    /// What the caller gets.
    pub(crate) fn into_value(self) -> Option<Cached<V>> {
        match self {
            Found::Value(value) => Some(value),
            Found::Nothing { .. } => None,
        }
    }
}

impl<V> Clone for Found<V> {
    fn clone(&self) -> Self {
        match self {
            Found::Value(value) => Found::Value(value.clone()),
            Found::Nothing { stale } => Found::Nothing { stale: *stale },
        }
    }
}
