//! The bytes of a key in this process: made, hashed and compared on every hit, so without an allocation where
//! they are few.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::key::EntryKey;
use crate::scope::Scope;
use crate::tag::Slot;

/// The bytes of a key within one installation, and their hash, which finds its entry in this process.
#[derive(Clone)]
pub(crate) struct KeyId {
    place: u64,
    bytes: KeyBytes,
}

/// The bytes alone. Most keys are short: they cost no allocation.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum KeyBytes {
    Inline(Inline),
    Heap(Arc<[u8]>),
}

/// How many bytes there are, the bytes, and zeros.
///
/// They are kept as words, and written as words: a processor that reads a word which was just written byte by
/// byte waits for the bytes to be in its cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inline([u64; 4]);

/// How many bytes it has room for, with their number.
const ROOM: usize = size_of::<Inline>();

/// An [`Inline`] that is being written, and where its next byte goes.
struct Filling {
    words: [u64; 4],
    at: usize,
}

/// What each key of one keyspace begins with where it has no scope: made once, when the keyspace is declared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix(Option<Inline>);

impl KeyId {
    pub(crate) fn new(keyspace: &str, scope: &Scope, key: &impl Serialize) -> Option<Self> {
        let all = ((keyspace, scope.bytes()), key);
        let bytes = match Inline::EMPTY.followed_by(&all) {
            Some(inline) => KeyBytes::Inline(inline),
            None => KeyBytes::Heap(postcard::to_stdvec(&all).ok()?.into()),
        };
        Some(KeyId { place: bytes.place(), bytes })
    }

    /// The same as [`KeyId::new`] without a scope, from what the keyspace has ready.
    #[inline]
    pub(crate) fn unscoped(prefix: &Prefix, keyspace: &str, key: &impl Serialize) -> Option<Self> {
        match prefix.0.and_then(|prefix| prefix.followed_by(key)) {
            Some(inline) => Some(KeyId { place: inline.place(), bytes: KeyBytes::Inline(inline) }),
            None => KeyId::new(keyspace, &Scope::new(), key),
        }
    }

    /// The identity of what has no bytes: no key has it, because every key's bytes hold a name's length at
    /// least.
    pub(crate) fn none() -> Self {
        KeyId { place: 0, bytes: KeyBytes::Inline(Inline::EMPTY) }
    }

    /// Where its entry lies in this process. Two keys may share it: the bytes decide.
    #[inline]
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    #[inline]
    pub(crate) fn key(&self) -> &KeyBytes {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> KeyBytes {
        self.bytes
    }

    fn bytes(&self) -> Cow<'_, [u8]> {
        self.bytes.bytes()
    }

    /// The slot that every entry of this key carries.
    pub(crate) fn slot(&self) -> Slot {
        Slot::of_key(xxh3_128(&self.bytes()))
    }

    /// The key as the second tier knows it.
    pub(crate) fn in_installation(&self, installation: &str, fingerprint: u64) -> EntryKey {
        let length = (installation.len() as u64).to_le_bytes();
        let parts = [&length, installation.as_bytes(), &fingerprint.to_le_bytes(), &self.bytes()];
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
        self.bytes == other.bytes
    }
}

impl Eq for KeyId {}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.place);
    }
}

impl KeyBytes {
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            KeyBytes::Inline(inline) => Cow::Owned(inline.bytes()),
            KeyBytes::Heap(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// What they take in memory beside themselves.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            KeyBytes::Inline(_) => 0,
            KeyBytes::Heap(bytes) => bytes.len(),
        }
    }

    pub(crate) fn place(&self) -> u64 {
        match self {
            KeyBytes::Inline(inline) => inline.place(),
            KeyBytes::Heap(bytes) => xxh3_64(bytes),
        }
    }
}

impl Inline {
    const EMPTY: Inline = Inline([0; 4]);

    /// The same with a value behind it; none where there is no room, or where it does not encode.
    #[inline]
    fn followed_by(self, value: &impl Serialize) -> Option<Self> {
        let at = self.used() + 1;
        postcard::serialize_with_flavor(value, Filling { words: self.0, at }).ok()
    }

    /// How many bytes it has, without their number.
    #[inline]
    fn used(&self) -> usize {
        usize::from(self.0[0] as u8)
    }

    #[inline]
    fn place(&self) -> u64 {
        xxh3_64(self.all().as_flattened())
    }

    fn bytes(&self) -> Vec<u8> {
        self.all().as_flattened().iter().skip(1).take(self.used()).copied().collect()
    }

    #[inline]
    fn all(&self) -> [[u8; 8]; 4] {
        self.0.map(u64::to_le_bytes)
    }
}

impl Filling {
    /// Takes so many bytes of a word, eight at most.
    #[inline]
    fn take(&mut self, word: u64, bytes: usize) -> postcard::Result<()> {
        let (place, shift) = (self.at / 8, self.at % 8 * 8);
        self.at += bytes;
        if self.at > ROOM {
            return Err(postcard::Error::SerializeBufferFull);
        }
        if let Some(first) = self.words.get_mut(place) {
            *first |= word << shift;
        }
        if shift > 0
            && let Some(second) = self.words.get_mut(place + 1)
        {
            *second |= word >> (64 - shift);
        }
        Ok(())
    }
}

impl Flavor for Filling {
    type Output = Inline;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.take(u64::from(byte), 1)
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.take(u64::from_le_bytes(*word), 8)?;
        }
        let rest =
            rest.iter().rev().fold((0, 0), |(word, bytes), byte| (word << 8 | u64::from(*byte), bytes + 1));
        self.take(rest.0, rest.1)
    }

    #[inline]
    fn finalize(self) -> postcard::Result<Inline> {
        let [first, rest @ ..] = &self.words;
        let [second, third, fourth] = *rest;
        Ok(Inline([first & !0xff | (self.at as u64 - 1), second, third, fourth]))
    }
}

impl Prefix {
    /// As postcard writes the name and an empty scope: the name's length, the name, and a length of nothing.
    pub(crate) const fn of(name: &str) -> Self {
        let (name, mut bytes) = (name.as_bytes(), [[0; 8]; 4]);
        if name.len() > ROOM - 3 {
            return Prefix(None);
        }
        bytes[0][0] = name.len() as u8 + 2;
        bytes[0][1] = name.len() as u8;
        let mut at = 0;
        while at < name.len() {
            bytes[(at + 2) / 8][(at + 2) % 8] = name[at];
            at += 1;
        }
        let [one, two, three, four] = bytes;
        Prefix(Some(Inline([
            u64::from_le_bytes(one),
            u64::from_le_bytes(two),
            u64::from_le_bytes(three),
            u64::from_le_bytes(four),
        ])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_whether_its_beginning_was_ready_or_not() {
        let names =
            ["", "n", "a name that has 29 letters ye", "a name that has 30 letters yes", "\u{1f980} here"];
        for name in names {
            for key in [0, 7, 300, 1 << 40, u64::MAX] {
                let ready = KeyId::unscoped(&Prefix::of(name), name, &key).unwrap();
                let made = KeyId::new(name, &Scope::new(), &key).unwrap();
                let bytes = postcard::to_stdvec(&((name, Scope::new().bytes()), key)).unwrap();
                assert_eq!((&*ready.bytes(), &*made.bytes()), (&*bytes, &*bytes), "{name} {key}");
                assert!(ready == made && ready.place() == made.place(), "{name} {key}");
            }
        }
    }

    #[test]
    fn keys_that_spell_alike_differ() {
        let of = |name: &str, key: &str| KeyId::new(name, &Scope::new(), &key).unwrap();
        assert!(of("ab", "c") != of("a", "bc"));
        assert!(of("a", "\0") != of("a", ""));
        for length in 0..70 {
            let key = "x".repeat(length);
            let (one, other) = (of("a", &key), of("a", &key));
            assert!(one == other && one.place() == other.place(), "{length}");
            let longer = of("a", &"x".repeat(length + 1));
            assert!(one != longer && one.place() != longer.place(), "{length}");
        }
    }
}
