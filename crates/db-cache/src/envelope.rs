//! What the second tier keeps of an entry: the value, and all that tells whether it may be served.
//!
//! The checksum is looked at first, then the key and the schema, and only then is the value decoded: what was
//! damaged, what belongs to another key and what an older program wrote is a miss with a name.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::Codec;
use crate::generation::Generation;
use crate::key::EntryKey;
use crate::record::TierTime;
use crate::tag::Slot;

/// An entry of the second tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What it was loaded under.
    pub stamps: Stamps,
    /// Until when it is fresh, by the tier's clock.
    pub fresh_until: TierTime,
    /// Until when it may be served stale.
    pub stale_until: TierTime,
    /// What the load took.
    pub cost: Duration,
    /// The value's bytes; none says that there is nothing.
    pub payload: Option<Vec<u8>>,
}

/// An entry of the second tier whose value is still in the bytes that it was read from.
pub(crate) struct Opened<'a> {
    pub(crate) stamps: Stamps,
    pub(crate) fresh_until: TierTime,
    pub(crate) stale_until: TierTime,
    pub(crate) cost: Duration,
    pub(crate) payload: Option<Cow<'a, [u8]>>,
}

/// What an entry was loaded under: the epoch, and the generation of each of its slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// The generation of the whole cache.
    pub epoch: Generation,
    /// The slots of the entry, each with its generation.
    pub slots: Vec<(Slot, Generation)>,
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// They are damaged, or no entry at all.
    Damaged,
    /// They belong to another key, scope or installation.
    OtherKey,
    /// They are of another codec or schema.
    OtherSchema,
}

/// Smaller values do not get smaller: 1.1 times for a row of 767 bytes.
const WORTH_COMPRESSING: usize = 2_048;

/// A larger value is not ours: no length in damaged bytes makes us allocate more.
const LARGEST: usize = 512 << 20;

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    codec: u8,
    fingerprint: u64,
    #[serde(borrow)]
    key: Cow<'a, [u8]>,
    stamps: Cow<'a, Stamps>,
    fresh_until: TierTime,
    stale_until: TierTime,
    cost_us: u64,
    body: Body,
}

/// What follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Body {
    Nothing,
    Plain { length: usize },
    Lz4 { length: usize },
}

impl Envelope {
    /// The bytes of this entry of `key`; none where it is too large.
    pub fn encode(&self, key: &EntryKey, codec: Codec, fingerprint: u64, compress: bool) -> Option<Vec<u8>> {
        let plain = self.payload.as_deref();
        let packed = plain
            .filter(|bytes| compress && bytes.len() > WORTH_COMPRESSING)
            .map(lz4_flex::block::compress)
            .filter(|packed| plain.is_some_and(|plain| packed.len() < plain.len()));
        let length = plain.map_or(0, <[u8]>::len);
        if length > LARGEST {
            return None;
        }
        let body = match (plain, &packed) {
            (None, _) => Body::Nothing,
            (Some(_), None) => Body::Plain { length },
            (Some(_), Some(_)) => Body::Lz4 { length },
        };
        let head = Head {
            codec: codec.id(),
            fingerprint,
            key: Cow::Borrowed(key.bytes()),
            stamps: Cow::Borrowed(&self.stamps),
            fresh_until: self.fresh_until,
            stale_until: self.stale_until,
            cost_us: u64::try_from(self.cost.as_micros()).unwrap_or(u64::MAX),
            body,
        };
        let mut bytes = vec![0; CHECKSUM];
        bytes.push(VERSION);
        let mut bytes = postcard::to_extend(&head, bytes).ok()?;
        bytes.extend_from_slice(packed.as_deref().or(plain).unwrap_or_default());
        let sum = xxh3_64(&bytes[CHECKSUM..]).to_le_bytes();
        bytes[..CHECKSUM].copy_from_slice(&sum);
        Some(bytes)
    }

    /// Reads an entry of `key`.
    ///
    /// # Errors
    /// Why the bytes are no entry of that key.
    pub fn decode(
        bytes: &[u8],
        key: &EntryKey,
        codec: Codec,
        fingerprint: u64,
    ) -> Result<Envelope, Unreadable> {
        let Opened { stamps, fresh_until, stale_until, cost, payload } =
            Opened::decode(bytes, key, codec, fingerprint)?;
        Ok(Envelope { stamps, fresh_until, stale_until, cost, payload: payload.map(Cow::into_owned) })
    }
}

impl<'a> Opened<'a> {
    /// As [`Envelope::decode`].
    pub(crate) fn decode(
        bytes: &'a [u8],
        key: &EntryKey,
        codec: Codec,
        fingerprint: u64,
    ) -> Result<Self, Unreadable> {
        let (sum, rest) = bytes.split_first_chunk::<CHECKSUM>().ok_or(Unreadable::Damaged)?;
        if u64::from_le_bytes(*sum) != xxh3_64(rest) {
            return Err(Unreadable::Damaged);
        }
        let (version, rest) = rest.split_first().ok_or(Unreadable::Damaged)?;
        if *version != VERSION {
            return Err(Unreadable::OtherSchema);
        }
        let (head, body): (Head<'_>, _) = postcard::take_from_bytes(rest).map_err(|_| Unreadable::Damaged)?;
        if head.key != key.bytes() {
            return Err(Unreadable::OtherKey);
        }
        if head.codec != codec.id() || head.fingerprint != fingerprint {
            return Err(Unreadable::OtherSchema);
        }
        Ok(Opened {
            stamps: head.stamps.into_owned(),
            fresh_until: head.fresh_until,
            stale_until: head.stale_until,
            cost: Duration::from_micros(head.cost_us),
            payload: head.body.unpack(body)?,
        })
    }
}

const CHECKSUM: usize = 8;

impl Body {
    fn unpack(self, bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, Unreadable> {
        match self {
            Body::Nothing => bytes.is_empty().then_some(None).ok_or(Unreadable::Damaged),
            Body::Plain { length } if length == bytes.len() => Ok(Some(Cow::Borrowed(bytes))),
            Body::Lz4 { length } if length <= LARGEST => {
                let unpacked = lz4_flex::block::decompress(bytes, length).map_err(|_| Unreadable::Damaged)?;
                (unpacked.len() == length).then_some(Some(Cow::Owned(unpacked))).ok_or(Unreadable::Damaged)
            }
            Body::Plain { .. } | Body::Lz4 { .. } => Err(Unreadable::Damaged),
        }
    }
}

impl Unreadable {
    /// The reason as a metric label: lower case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Unreadable::Damaged => "damaged",
            Unreadable::OtherKey => "other_key",
            Unreadable::OtherSchema => "other_schema",
        }
    }
}
