//! The names of an installation's keys on the server.
//!
//! All of them share one hash tag, so on a cluster an installation lives on one shard: that is what makes a read one round
//! trip, and a script atomic.

use crate::key::EntryKey;

/// The names of one installation's keys.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Slots, epoch, where the feed ends, and who reads it. It has no end of life: it has a field for each slot at most.
    pub(super) records: Vec<u8>,
    /// The feed. It has no end of life: it is cut.
    pub(super) feed: Vec<u8>,
    prefix: String,
}

/// The record of the epoch among the slots.
pub(super) const EPOCH: &str = "e";
/// Where the feed ends.
pub(super) const TAIL: &str = "t";
/// When the relay last said that it had caught up.
pub(super) const RELAYED: &str = "r";
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
        format!("{}e:{:032x}", self.prefix, key.hash()).into_bytes()
    }

    pub(super) fn lease(&self, key: &EntryKey) -> Vec<u8> {
        format!("{}l:{:032x}", self.prefix, key.hash()).into_bytes()
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
}
