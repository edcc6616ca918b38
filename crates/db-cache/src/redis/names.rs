//! The names of an installation's keys on the server.
//!
//! All of them share one hash tag, so on a cluster an installation lives on one shard: that is what makes a
//! read one round trip, and a script atomic.

use crate::key::EntryKey;

/// The names of one installation's keys.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Slots, the head, and who reads the feed. It has no end of life: it has a field for each slot at most.
    pub(super) records: Vec<u8>,
    /// The feed. It has no end of life: it is cut.
    pub(super) feed: Vec<u8>,
    prefix: String,
}

/// Where the feed ends, up to when the relay has caught up, and the epoch.
pub(super) const HEAD: &str = "h";
/// Who reads the feed.
pub(super) const MEMBERS: &str = "m";

impl Names {
    /// The names for `installation`. No two installations have the same.
    pub(super) fn of(installation: &str) -> Self {
        let prefix = format!("{{db-cache:{}}}:", escaped(installation));
        let name = |what: &str| format!("{prefix}{what}").into_bytes();
        Names { records: name("records"), feed: name("feed"), prefix }
    }

    pub(super) fn entry(&self, key: &EntryKey) -> Vec<u8> {
        self.of_key(b"e:", key)
    }

    pub(super) fn lease(&self, key: &EntryKey) -> Vec<u8> {
        self.of_key(b"l:", key)
    }

    fn of_key(&self, what: &[u8], key: &EntryKey) -> Vec<u8> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut name = Vec::with_capacity(self.prefix.len() + what.len() + 32);
        name.extend_from_slice(self.prefix.as_bytes());
        name.extend_from_slice(what);
        for byte in key.hash().to_be_bytes() {
            name.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
        }
        name
    }
}

/// What could end the hash tag, or is hard to read in a terminal, as `%` and its number.
fn escaped(installation: &str) -> String {
    let mut name = String::with_capacity(installation.len());
    for byte in installation.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b'/' | b':' => {
                name.push(char::from(byte));
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_installation_ends_the_hash_tag_or_spells_as_another() {
        let records = |installation| String::from_utf8(Names::of(installation).records).unwrap();
        assert_eq!(records("shop/7"), "{db-cache:shop/7}:records");
        assert_eq!(records("a}:records{"), "{db-cache:a%7D%3Arecords%7B}:records".replace("%3A", ":"));
        assert_ne!(records("a%7D"), records("a}"));
    }

    #[test]
    fn a_key_has_a_name_of_its_hash() {
        let key = EntryKey::from_bytes(b"k".to_vec());
        let name = String::from_utf8(Names::of("shop").entry(&key)).unwrap();
        assert_eq!(name, format!("{{db-cache:shop}}:e:{:032x}", key.hash()));
    }
}
