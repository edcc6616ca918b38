//! Keys: bytes that no two keys share, and that an entry carries to prove whose it is.
//!
//! A key's bytes hold the keyspace's name, the scope and the key, each with its length, so two keys that
//! spell alike differ. What goes to the second tier holds the installation and the schema besides.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::key_id::KeyId;
use crate::keyspace::Keyspace;
use crate::mode::{Mode, SessionToken};
use crate::scope::Scope;
use crate::tag::Tag;

/// A key of a [`Keyspace`], and what a call wants to have different from the keyspace's policy.
///
/// ```
/// use db_cache::{Keyspace, Mode, Scope};
///
/// static NAMES: Keyspace<i64, String> = Keyspace::new("user_names");
/// let key = NAMES.key(7).within(&Scope::new().with("tenant", "42")).mode(Mode::Strict);
/// assert_eq!(*key.key(), 7);
/// ```
pub struct Key<K: 'static, V: 'static> {
    keyspace: &'static Keyspace<K, V>,
    key: K,
    id: Option<KeyId>,
    pub(crate) wishes: Wishes,
}

/// What a call wants to have different from its keyspace's policy: most want nothing, and carry nothing
/// about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes(Option<Arc<Wanted>>);

#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) scope: Scope,
    pub(crate) mode: Option<Mode>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) session: Option<SessionToken>,
}

static NOTHING: Wanted =
    Wanted { scope: Scope::new(), mode: None, ttl: None, tags: Vec::new(), session: None };

/// A key as the second tier knows it. Equal bytes are equal keys; the hash is only shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryKey {
    hash: u128,
    bytes: Arc<[u8]>,
}

impl Wishes {
    #[inline]
    pub(crate) fn get(&self) -> &Wanted {
        self.0.as_deref().unwrap_or(&NOTHING)
    }

    pub(crate) fn change(&mut self) -> &mut Wanted {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl<K: Serialize, V> Key<K, V> {
    #[inline]
    pub(crate) fn new(keyspace: &'static Keyspace<K, V>, key: K) -> Self {
        Key::with_wishes(keyspace, key, Wishes::default())
    }

    #[inline]
    pub(crate) fn with_wishes(keyspace: &'static Keyspace<K, V>, key: K, wishes: Wishes) -> Self {
        let id = match &wishes.0 {
            None => KeyId::unscoped(keyspace.prefix(), keyspace.name(), &key),
            Some(wanted) => KeyId::new(keyspace.name(), &wanted.scope, &key),
        };
        Key { keyspace, key, id, wishes }
    }

    /// The same key within a scope: what the load depends on besides the key, such as a tenant or a role.
    #[must_use]
    pub fn within(mut self, scope: &Scope) -> Self {
        self.id = KeyId::new(self.keyspace.name(), scope, &self.key);
        self.wishes.change().scope = scope.clone();
        self
    }
}

impl<K, V> Key<K, V> {
    /// The key itself.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The keyspace.
    pub fn keyspace(&self) -> &'static Keyspace<K, V> {
        self.keyspace
    }

    /// This call promises that instead of what the keyspace promises.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.wishes.change().mode = Some(mode);
        self
    }

    /// What this call loads is fresh for that long.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.wishes.change().ttl = Some(ttl);
        self
    }

    /// What this call loads is made from this too.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.wishes.change().tags.push(tag);
        self
    }

    /// This call sees what a session has written, besides what its mode promises.
    #[must_use]
    pub fn session(mut self, token: SessionToken) -> Self {
        self.wishes.change().session = Some(token);
        self
    }

    /// Its bytes; none where the key does not encode, so that it is never cached.
    #[inline]
    pub(crate) fn id(&self) -> Option<&KeyId> {
        self.id.as_ref()
    }
}

impl EntryKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        EntryKey { hash: xxh3_128(&bytes), bytes }
    }

    /// All that tells it from other keys. An entry must carry the same bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A short name for it. Two keys may share it: the bytes decide.
    pub fn hash(&self) -> u128 {
        self.hash
    }
}

impl Hash for EntryKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.hash);
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Key<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("keyspace", &self.keyspace.name()).field("key", &self.key).finish()
    }
}
