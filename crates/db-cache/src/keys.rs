//! Keys of one keyspace that are asked for together.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;

use crate::key::{Key, Wishes};
use crate::keyspace::Keyspace;
use crate::mode::{Mode, SessionToken};
use crate::scope::Scope;
use crate::tag::Tag;

/// Keys of one [`Keyspace`], each once, and what the call wants to have different from the keyspace's policy.
/// It holds for all of them.
///
/// ```
/// use db_cache::{Keyspace, Mode};
///
/// static NAMES: Keyspace<i64, String> = Keyspace::new("user_names");
/// let keys = NAMES.keys([7, 8, 7]).mode(Mode::Strict);
/// assert_eq!(keys.keys(), [7, 8]);
/// ```
pub struct Keys<K: 'static, V: 'static> {
    keyspace: &'static Keyspace<K, V>,
    keys: Vec<K>,
    wishes: Wishes,
}

impl<K: Clone + Eq + Hash, V> Keyspace<K, V> {
    /// Many keys of it, each once.
    pub fn keys(&'static self, keys: impl IntoIterator<Item = K>) -> Keys<K, V> {
        let mut seen = HashSet::new();
        let keys = keys.into_iter().filter(|key| seen.insert(key.clone())).collect();
        Keys { keyspace: self, keys, wishes: Wishes::default() }
    }
}

impl<K, V> Keys<K, V> {
    /// The keys, each once.
    pub fn keys(&self) -> &[K] {
        &self.keys
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keyspace.
    pub fn keyspace(&self) -> &'static Keyspace<K, V> {
        self.keyspace
    }

    /// As [`Key::within`], for all of them.
    #[must_use]
    pub fn within(mut self, scope: &Scope) -> Self {
        self.wishes.change().scope = scope.clone();
        self
    }

    /// As [`Key::mode`], for all of them.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.wishes.change().mode = Some(mode);
        self
    }

    /// As [`Key::ttl`], for all of them.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.wishes.change().ttl = Some(ttl);
        self
    }

    /// As [`Key::tag`], for all of them.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.wishes.change().tags.push(tag);
        self
    }

    /// As [`Key::session`], for all of them.
    #[must_use]
    pub fn session(mut self, token: SessionToken) -> Self {
        self.wishes.change().session = Some(token);
        self
    }
}

impl<K: Serialize + Clone, V> Keys<K, V> {
    /// Each as a key of its own.
    pub(crate) fn each(&self) -> impl Iterator<Item = Key<K, V>> + '_ {
        let each = self.keys.iter().cloned();
        each.map(|key| Key::with_wishes(self.keyspace, key, self.wishes.clone()))
    }

    /// The same but for the keys themselves: a part of them.
    pub(crate) fn with_keys(&self, keys: Vec<K>) -> Self {
        Keys { keyspace: self.keyspace, keys, wishes: self.wishes.clone() }
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Keys<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("keyspace", &self.keyspace.name()).field("keys", &self.keys).finish()
    }
}
