//! An entry of the first tier, and what a caller gets of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::key_id::{KeyBytes, KeyId};
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
    state: State,
}

/// As long as a pointer: a processor that copies both at once waits where one was written in a part.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum State {
    Fresh,
    Stale,
}

/// What a lookup came to: a value, or the knowledge that there is none.
pub(crate) enum Found<V> {
    Value(Cached<V>),
    Nothing { stale: bool },
}

/// Stands for a value where there is none.
pub(crate) struct Nothing;

/// A value with all that tells whether it may be served.
///
/// Most of what a hit costs is waiting for memory: what every hit reads lies together, and the value right
/// behind it.
#[repr(C)]
pub(crate) struct Entry<V> {
    pub(crate) head: Head,
    pub(crate) value: V,
    pub(crate) origin: Origin,
}

/// What every hit looks at. In this order it takes two cache lines, with the entry's counts of references
/// before it.
#[repr(C)]
pub(crate) struct Head {
    /// [`Knowledge::changes`] when the stamps were last compared and found to be what the table says; 0 is
    /// never.
    pub(crate) compared: AtomicU64,
    /// Until then it is fresh and nobody loads it anew; [`Origin::fresh_until`] at the latest.
    pub(crate) early_from: Moment,
    /// Whether the stamps are the second tier's; else they are what this process knew while it was down.
    pub(crate) is_confirmed: bool,
    /// How often it was asked for, one hit in [`ASKS_EVERY`](crate::cache::ASKS_EVERY), with half of what its
    /// predecessor had.
    pub(crate) asks: AtomicU32,
    pub(crate) key: KeyBytes,
}

/// What an entry was made from, and what that cost: few hits look at it.
#[derive(Default)]
pub(crate) struct Origin {
    pub(crate) epoch: u64,
    /// Each slot with its word when the load began.
    pub(crate) stamps: Box<[(Slot, u64)]>,
    /// When the load's snapshot was at the earliest.
    pub(crate) as_of: Moment,
    pub(crate) fresh_until: Moment,
    pub(crate) stale_until: Moment,
    pub(crate) cost: Duration,
    /// What it takes in the first tier with its value; 0 where it is not there.
    pub(crate) bytes: u64,
}

/// An entry but for its value.
pub(crate) struct Unfilled(pub(crate) Head, pub(crate) Origin);

impl Unfilled {
    pub(crate) fn with<V>(self, value: V) -> Entry<V> {
        let Unfilled(head, origin) = self;
        Entry { head, value, origin }
    }
}

impl<V> Entry<V> {
    /// Whether nothing that it was made from has changed, as far as this process knows.
    #[inline]
    pub(crate) fn is_valid(&self, knowledge: &Knowledge) -> bool {
        // Taken before the words: what changes from here on makes it another number, and they are compared
        // again.
        let changes = knowledge.changes();
        self.head.compared.load(Ordering::Relaxed) == changes
            || self.head.compare(&self.origin, knowledge, changes)
    }
}

impl Head {
    fn compare(&self, origin: &Origin, knowledge: &Knowledge, changes: u64) -> bool {
        let is_valid = origin.epoch == knowledge.epoch()
            && (origin.epoch != 0 || !self.is_confirmed)
            && origin.stamps.iter().all(|(slot, word)| knowledge.word(*slot) == *word);
        if is_valid {
            self.compared.store(changes, Ordering::Relaxed);
        }
        is_valid
    }
}

impl<V> Cached<V> {
    #[inline]
    pub(crate) fn fresh(entry: Arc<Entry<V>>) -> Self {
        Cached { entry, state: State::Fresh }
    }

    pub(crate) fn stale(entry: Arc<Entry<V>>) -> Self {
        Cached { entry, state: State::Stale }
    }

    /// Whether its time was over, and the database could not be asked or is being asked. It is not known to
    /// be wrong.
    pub fn is_stale(this: &Self) -> bool {
        this.state == State::Stale
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
        Cached { entry: Arc::clone(&self.entry), state: self.state }
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
            key: id.into_bytes(),
            is_confirmed: true,
            early_from: at,
            asks: AtomicU32::new(0),
        };
        Found::Value(Cached::fresh(Arc::new(Unfilled(head, Origin::default()).with(value))))
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
