//! A family of entries: the types of key and value, how they are encoded, and the policy that a call may
//! override.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Codec;
use crate::fingerprint::fingerprint;
use crate::key::Key;
use crate::key_id::Prefix;
use crate::keyspace_counts::{CountedKeyspace, KeyspaceNumber};
use crate::mode::Mode;
use crate::policy::Policy;
use crate::tag::Tag;

/// A family of entries, declared once as a `static`.
///
/// ```
/// use std::time::Duration;
/// use db_cache::{Keyspace, Tag};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct User { id: i64, team: i64, name: String }
///
/// static USERS: Keyspace<i64, User> = Keyspace::new("users")
///     .ttl(Duration::from_secs(300))
///     .tags_of_key(|id| vec![Tag::row("users", id)])
///     .tags_of_value(|user| vec![Tag::row("teams", user.team)]);
/// assert_eq!(USERS.name(), "users");
/// ```
pub struct Keyspace<K: 'static, V: 'static> {
    name: &'static str,
    prefix: Prefix,
    policy: Policy,
    codec: Codec,
    schema: u32,
    tags_of_key: Option<fn(&K) -> Vec<Tag>>,
    tags_of_value: Option<fn(&V) -> Vec<Tag>>,
    fingerprint: OnceLock<u64>,
    number: KeyspaceNumber,
    types: PhantomData<fn(&K) -> V>,
}

impl<K, V> Keyspace<K, V> {
    /// A family of entries. The name is part of each key: two keyspaces of one name must have the same types.
    pub const fn new(name: &'static str) -> Self {
        Keyspace {
            name,
            prefix: Prefix::of(name),
            policy: Policy::DEFAULT,
            codec: Codec::Postcard,
            schema: 0,
            tags_of_key: None,
            tags_of_value: None,
            fingerprint: OnceLock::new(),
            number: KeyspaceNumber::unset(),
            types: PhantomData,
        }
    }

    /// An entry is fresh for that long, instead of `CACHE_TTL`.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.policy.ttl = Some(ttl);
        self
    }

    /// A read promises that, instead of `CACHE_MODE`.
    #[must_use]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.policy.mode = Some(mode);
        self
    }

    /// The whole policy.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How values are encoded; [`Codec::MessagePack`] for values with `serde_json::Value` inside.
    #[must_use]
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Goes up whenever the same fields mean something else. A change of fields is noticed without it.
    #[must_use]
    pub const fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// What every entry of a key is made from.
    #[must_use]
    pub const fn tags_of_key(mut self, tags: fn(&K) -> Vec<Tag>) -> Self {
        self.tags_of_key = Some(tags);
        self
    }

    /// What an entry is made from, where only its value tells.
    #[must_use]
    pub const fn tags_of_value(mut self, tags: fn(&V) -> Vec<Tag>) -> Self {
        self.tags_of_value = Some(tags);
        self
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What its keys begin with.
    #[inline]
    pub(crate) fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// It, for the counters.
    #[inline]
    pub(crate) fn counted(&self) -> CountedKeyspace {
        CountedKeyspace { number: self.number.get(), name: self.name }
    }

    pub(crate) fn defaults(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn encoding(&self) -> Codec {
        self.codec
    }

    pub(crate) fn tags_for_key(&self, key: &K) -> Vec<Tag> {
        self.tags_of_key.map(|tags| tags(key)).unwrap_or_default()
    }

    pub(crate) fn tags_for_values(&self) -> Option<fn(&V) -> Vec<Tag>> {
        self.tags_of_value
    }
}

impl<K: Serialize, V> Keyspace<K, V> {
    /// One key of it.
    #[inline]
    pub fn key(&'static self, key: K) -> Key<K, V> {
        Key::new(self, key)
    }
}

impl<K, V: DeserializeOwned> Keyspace<K, V> {
    /// What the values' type looks like, as a number: an entry of another one is a miss.
    pub(crate) fn fingerprint(&self) -> u64 {
        *self.fingerprint.get_or_init(|| fingerprint::<V>(self.codec, self.schema))
    }
}

impl<K, V> fmt::Debug for Keyspace<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
