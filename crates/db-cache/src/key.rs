//! Keys: bytes that no two keys share, and that an entry carries to prove whose it is.
//!
//! A key's bytes hold the keyspace's name, the scope and the key, each with its length, so two keys that spell alike
//! differ. What goes to the second tier holds the installation and the schema besides.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::keyspace::Keyspace;
use crate::mode::{Mode, SessionToken};
use crate::scope::Scope;
use crate::tag::{Slot, Tag};

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

/// What a call wants to have different from its keyspace's policy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) scope: Scope,
    pub(crate) mode: Option<Mode>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) session: Option<SessionToken>,
}

/// The bytes of a key within one installation, and their hash.
#[derive(Clone)]
pub(crate) struct KeyId {
    bytes: KeyBytes,
    hash: u128,
}

/// Most keys are short: they cost no allocation.
#[derive(Clone)]
enum KeyBytes {
    Inline([u8; INLINE], u8),
    Heap(Arc<[u8]>),
}

const INLINE: usize = 62;

/// A key as the second tier knows it. Equal bytes are equal keys; the hash is only shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryKey {
    hash: u128,
    bytes: Arc<[u8]>,
}

impl<K: Serialize, V> Key<K, V> {
    pub(crate) fn new(keyspace: &'static Keyspace<K, V>, key: K) -> Self {
        Key::with_wishes(keyspace, key, Wishes::default())
    }

    pub(crate) fn with_wishes(keyspace: &'static Keyspace<K, V>, key: K, wishes: Wishes) -> Self {
        let id = KeyId::new(keyspace.name(), &wishes.scope, &key);
        Key { keyspace, key, id, wishes }
    }

    /// The same key within a scope: what the load depends on besides the key, such as a tenant or a role.
    #[must_use]
    pub fn within(mut self, scope: &Scope) -> Self {
        self.id = KeyId::new(self.keyspace.name(), scope, &self.key);
        self.wishes.scope = scope.clone();
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
        self.wishes.mode = Some(mode);
        self
    }

    /// What this call loads is fresh for that long.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.wishes.ttl = Some(ttl);
        self
    }

    /// What this call loads is made from this too.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.wishes.tags.push(tag);
        self
    }

    /// This call sees what a session has written, besides what its mode promises.
    #[must_use]
    pub fn session(mut self, token: SessionToken) -> Self {
        self.wishes.session = Some(token);
        self
    }

    /// Its bytes; none where the key does not encode, so that it is never cached.
    pub(crate) fn id(&self) -> Option<&KeyId> {
        self.id.as_ref()
    }
}

impl KeyId {
    fn new(keyspace: &str, scope: &Scope, key: &impl Serialize) -> Option<Self> {
        let head = (keyspace, scope.bytes());
        let mut inline = [0; INLINE];
        let bytes = match postcard::to_slice(&(head, key), &mut inline).map(|used| used.len()) {
            Ok(used) => KeyBytes::Inline(inline, u8::try_from(used).ok()?),
            Err(_) => KeyBytes::Heap(postcard::to_stdvec(&(head, key)).ok()?.into()),
        };
        let hash = xxh3_128(bytes.as_slice());
        Some(KeyId { bytes, hash })
    }

    /// The identity of what has no bytes: no key has it, because every key's bytes hold a name's length at least.
    pub(crate) fn none() -> Self {
        KeyId { bytes: KeyBytes::Inline([0; INLINE], 0), hash: 0 }
    }

    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The slot that every entry of this key carries.
    pub(crate) fn slot(&self) -> Slot {
        Slot::of_key(self.hash)
    }

    /// The key as the second tier knows it.
    pub(crate) fn in_installation(&self, installation: &str, fingerprint: u64) -> EntryKey {
        let length = (installation.len() as u64).to_le_bytes();
        let parts = [&length, installation.as_bytes(), &fingerprint.to_le_bytes(), self.bytes()];
        EntryKey::from_bytes(parts.concat())
    }
}

/// What a key may be that prints so: a number with or without a sign, a text, the bytes of a UUID.
pub(crate) fn id_candidates(keyspace: &str, key: &str) -> Vec<KeyId> {
    let scope = Scope::new();
    let uuid: String = key.chars().filter(|letter| *letter != '-').collect();
    let uuid = (uuid.len() == 32).then(|| u128::from_str_radix(&uuid, 16).ok()).flatten();
    let candidates = [
        KeyId::new(keyspace, &scope, &key),
        key.parse().ok().and_then(|key: i64| KeyId::new(keyspace, &scope, &key)),
        key.parse().ok().and_then(|key: u64| KeyId::new(keyspace, &scope, &key)),
        key.parse().ok().and_then(|key: bool| KeyId::new(keyspace, &scope, &key)),
        uuid.and_then(|uuid| KeyId::new(keyspace, &scope, &serde_bytes_of(uuid))),
    ];
    candidates.into_iter().flatten().collect()
}

/// As `uuid` serializes one: its bytes, with their length.
fn serde_bytes_of(uuid: u128) -> Vec<u8> {
    uuid.to_be_bytes().to_vec()
}

impl PartialEq for KeyId {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for KeyId {}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.hash);
    }
}

impl KeyBytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            KeyBytes::Inline(bytes, used) => &bytes[..usize::from(*used)],
            KeyBytes::Heap(bytes) => bytes,
        }
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
