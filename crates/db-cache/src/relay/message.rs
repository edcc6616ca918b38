//! What a transaction says of itself for the relay: which writer it was and which slots it touched.
//!
//! It is text, so that a trigger can say it too: a version, the writer or `-`, and the slots' numbers.

use std::fmt::{self, Write};
use std::str::FromStr;

use crate::key::EntryKey;
use crate::second_tier::Writer;
use crate::tag::Slot;

/// What one transaction touched.
///
/// ```
/// use db_cache::Tag;
/// use db_cache::relay::Message;
///
/// let message = Message { writer: None, slots: vec![Tag::table("users").slot()] };
/// assert_eq!(message.to_string().parse(), Ok(message));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The writer that marked the slots; none where it was a trigger.
    pub writer: Option<Writer>,
    /// The slots.
    pub slots: Vec<Slot>,
}

/// A text that is no message of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a message of the cache: {0:?} (another version of the program may have written it: run one version)"
)]
pub struct NoMessage(String);

/// The key under which a writer says that it has bumped by itself, so that the relay need not.
///
/// Where the second tier loses it the relay bumps once more, which costs misses and is never wrong.
pub fn receipt(writer: Writer) -> EntryKey {
    EntryKey::from_bytes([b"bumped:".as_slice(), &writer.0.to_be_bytes()].concat())
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.writer {
            Some(Writer(writer)) => write!(f, "1 {writer:016x} ")?,
            None => f.write_str("1 - ")?,
        }
        for (place, slot) in self.slots.iter().enumerate() {
            if place > 0 {
                f.write_char(',')?;
            }
            write!(f, "{}", slot.number())?;
        }
        Ok(())
    }
}

impl FromStr for Message {
    type Err = NoMessage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).ok_or_else(|| NoMessage(text.chars().take(80).collect()))
    }
}

fn read(text: &str) -> Option<Message> {
    let (writer, slots) = text.strip_prefix("1 ")?.split_once(' ')?;
    let writer = match writer {
        "-" => None,
        hex => Some(Writer(u64::from_str_radix(hex, 16).ok()?)),
    };
    let slots: Option<Vec<_>> = slots.split(',').map(|number| Slot::new(number.parse().ok()?)).collect();
    Some(Message { writer, slots: slots? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_survives_being_printed(writer: Option<u64>, numbers in proptest::collection::vec(0..Slot::COUNT, 1..50)) {
            let slots = numbers.into_iter().filter_map(Slot::new).collect();
            let message = Message { writer: writer.map(Writer), slots };
            prop_assert_eq!(message.to_string().parse::<Message>(), Ok(message));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Message>();
        }
    }

    #[test]
    fn what_is_not_wholly_understood_is_refused() {
        for text in ["", "1", "1 - ", "2 - 5", "1 x 5", "1 - 5,", "1 - 65536", "1 - 5 6"] {
            assert!(text.parse::<Message>().is_err(), "{text:?}");
        }
    }
}
