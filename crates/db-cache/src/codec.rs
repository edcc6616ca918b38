//! How values become bytes.
//!
//! postcard is the fastest and the smallest, and reads old bytes as wrong values without noticing: it is only
//! safe behind the fingerprint of the envelope. It cannot decode `serde_json::Value`, which MessagePack with
//! names can.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How the values of a keyspace become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// postcard: fields by their order. For rows.
    Postcard,
    /// MessagePack with the fields' names: for JSON inside of values.
    MessagePack,
}

impl Codec {
    /// Its number in an envelope.
    pub(crate) fn id(self) -> u8 {
        match self {
            Codec::Postcard => 1,
            Codec::MessagePack => 2,
        }
    }

    pub(crate) fn encode<T: Serialize + ?Sized>(self, value: &T) -> Option<Vec<u8>> {
        match self {
            Codec::Postcard => postcard::to_stdvec(value).ok(),
            Codec::MessagePack => rmp_serde::to_vec_named(value).ok(),
        }
    }

    /// The value; none where the bytes are not one, or more than one.
    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Option<T> {
        match self {
            Codec::Postcard => postcard::take_from_bytes(bytes)
                .ok()
                .filter(|(_, rest)| rest.is_empty())
                .map(|(value, _)| value),
            Codec::MessagePack => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
                let value = T::deserialize(&mut reader).ok()?;
                reader.get_ref().is_empty().then_some(value)
            }
        }
    }
}
