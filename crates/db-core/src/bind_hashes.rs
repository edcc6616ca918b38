//! Hashes of the values that a statement ran with: they tell whether two executions had the same, and nothing
//! else.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// How many parameters are told apart; the others share one hash.
const APART: usize = 6;

/// A hash of each parameter of one execution, with a key that each process draws anew. The values are not in
/// it.
///
/// ```
/// use db_core::BindHashes;
///
/// let of = |value: &[u8]| {
///     let mut hashes = BindHashes::default();
///     hashes.push(Some(value));
///     hashes
/// };
/// assert_eq!(of(b"17"), of(b"17"));
/// assert_ne!(of(b"17"), of(b"18"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BindHashes {
    count: u16,
    apart: [u64; APART],
    rest: u64,
}

impl BindHashes {
    /// Adds the next parameter: its bytes as they were sent, none for NULL. It allocates nothing.
    pub fn push(&mut self, value: Option<&[u8]>) {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let hash = KEY.get_or_init(RandomState::new).hash_one(value);
        match self.apart.get_mut(usize::from(self.count)) {
            Some(own) => *own = hash,
            None => self.rest = self.rest.rotate_left(7) ^ hash,
        }
        self.count = self.count.saturating_add(1);
    }

    /// How many parameters there were.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The hashes, in the order of the parameters; from the seventh on all have one.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let shared = if self.count() > APART { Some(self.rest) } else { None };
        self.apart.into_iter().take(self.count()).chain(shared)
    }
}
