//! The fingerprint of a value's type: what serde sees of it, as a number.

use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use crate::codec::Codec;

/// A number that is another one for each type, codec and schema number.
pub(crate) fn fingerprint<V: DeserializeOwned>(codec: Codec, schema: u32) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[codec.id()]);
    hash.update(&schema.to_le_bytes());
    hash.update(std::any::type_name::<V>().as_bytes());
    hash.digest()
}
