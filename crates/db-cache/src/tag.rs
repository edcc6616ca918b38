//! Tags, which say what an entry was made from, and the slots that hold their generations.
//!
//! Tags are hashed to a fixed number of slots, so memory is bounded whatever is tagged. Two tags in one slot
//! cost a miss, never a stale value. Tables have a range of slots of their own, so that writes to single rows
//! never drop a whole table's entries by an accident of hashing.

use std::borrow::Cow;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Something that entries were made from and that a write can touch.
///
/// ```
/// use db_cache::Tag;
///
/// assert_eq!(Tag::row("users", 7).slot(), Tag::row("users", "7").slot());
/// assert_ne!(Tag::table("users"), Tag::named("users"));
/// assert_eq!("users/7".parse(), Ok(Tag::row("users", 7)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag {
    kind: Kind,
    name: Cow<'static, str>,
    row: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Table,
    Row,
    Named,
}

/// A text that names no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no tag: write a table as users, one of its rows as users/7, or anything else that has a name as @name"
)]
pub struct InvalidTag;

/// One of the places where generations are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Slot(u32);

impl Tag {
    /// A whole table: for entries that any write to it may change.
    pub const fn table(name: &'static str) -> Self {
        Tag { kind: Kind::Table, name: Cow::Borrowed(name), row: String::new() }
    }

    /// One row of a table, by its key as it prints.
    pub fn row(table: &'static str, key: impl ToString) -> Self {
        Tag { kind: Kind::Row, name: Cow::Borrowed(table), row: key.to_string() }
    }

    /// Anything else that has a name.
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Tag { kind: Kind::Named, name: name.into(), row: String::new() }
    }

    /// The table that it is a tag of; none for [`Tag::named`].
    pub fn table_name(&self) -> Option<&str> {
        (self.kind != Kind::Named).then_some(&*self.name)
    }

    /// The slot that holds its generation.
    pub fn slot(&self) -> Slot {
        match self.kind {
            Kind::Table => Slot::among_tables(self.name.as_bytes()),
            // The length goes in, so that no table's name and key spell as another's do.
            Kind::Row => {
                let seed = xxh3_64_with_seed(self.name.as_bytes(), self.name.len() as u64);
                Slot::among_rows(self.row.as_bytes(), seed)
            }
            Kind::Named => Slot::among_rows(self.name.as_bytes(), NAMED),
        }
    }
}

/// As an operator writes it: `users` for a table, `users/7` for a row of it, `@name` for anything else.
impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let owned = |text: &str| Cow::Owned(text.to_owned());
        match (text.strip_prefix('@'), text.split_once('/')) {
            (Some(""), _) | (None, Some(("", _) | (_, ""))) => Err(InvalidTag),
            (Some(name), _) => Ok(Tag::named(name.to_owned())),
            (None, Some((table, row))) => {
                Ok(Tag { kind: Kind::Row, name: owned(table), row: row.to_owned() })
            }
            (None, None) if text.is_empty() => Err(InvalidTag),
            (None, None) => Ok(Tag { kind: Kind::Table, name: owned(text), row: String::new() }),
        }
    }
}

const NAMED: u64 = 0x006e_616d_6564;

impl Slot {
    /// How many there are.
    pub const COUNT: u32 = 1 << 16;

    /// How many of them, from 0 on, are for tables.
    const TABLES: u32 = 1 << 12;

    /// The slot of this number; none where there is no such slot.
    pub fn new(number: u32) -> Option<Self> {
        (number < Slot::COUNT).then_some(Slot(number))
    }

    /// Its number, below [`Slot::COUNT`].
    pub fn number(self) -> u32 {
        self.0
    }

    /// The slot of one key, which every entry carries, so that a single key can be invalidated.
    pub(crate) fn of_key(hash: u128) -> Slot {
        Slot(Slot::TABLES + ((hash >> 64) as u64 % u64::from(Slot::COUNT - Slot::TABLES)) as u32)
    }

    fn among_tables(name: &[u8]) -> Slot {
        Slot((xxh3_64_with_seed(name, 0) % u64::from(Slot::TABLES)) as u32)
    }

    fn among_rows(name: &[u8], seed: u64) -> Slot {
        Slot(Slot::TABLES + (xxh3_64_with_seed(name, seed) % u64::from(Slot::COUNT - Slot::TABLES)) as u32)
    }
}

/// What a mutant does with slots.
impl Slot {
    /// Another slot, by a number.
    pub(crate) fn rotated(self, by: u64) -> Slot {
        Slot(((u64::from(self.0)).wrapping_add(by) % u64::from(Slot::COUNT)) as u32)
    }
}
