//! Settings: each crate describes its own and reads them; whoever collects them reports everything that is
//! wrong at once.
//!
//! A setting is described once, in a [`Setting`] or a [`Text`], and belongs to a [`Group`] of its crate. The
//! [`Reader`] reads by the description, and [`page`] prints it. Values come from a lookup function, so that a
//! test need not change the process's environment.
//!
//! ```
//! use db_core::settings::{Describe, FromSettings, Group, Reader, Setting};
//!
//! const SIZE: Setting<u32> = Setting {
//!     name: "SHOP_CART_SIZE",
//!     aliases: &[],
//!     meaning: "How many things fit into a cart.",
//!     default: [10, 10, 50, 50],
//!     min: 1,
//!     max: 1_000,
//!     unit_required: &[],
//! };
//! const CART: Group = Group { title: "The cart", settings: &[&SIZE], elsewhere: &[] };
//!
//! struct Cart { size: u32 }
//!
//! impl FromSettings for Cart {
//!     const GROUPS: &'static [&'static Group] = &[&CART];
//!     fn read(from: &mut Reader<'_>) -> Self {
//!         Cart { size: from.read(&SIZE) }
//!     }
//! }
//!
//! let environment = |name: &str| (name == "SHOP_CART_SIZE").then(|| "7".to_owned());
//! let mut reader = Reader::of(&environment);
//! let cart = Cart::read(&mut reader);
//! assert!(reader.finish()?.is_empty());
//! assert_eq!(cart.size, 7);
//! # Ok::<(), db_core::settings::InvalidSettings>(())
//! ```

mod database;
mod libpq;
mod page;
mod problem;
mod reader;
mod typos;
mod value;

pub use database::{DatabaseUrls, LedgerSchema, NamedEnvironment};
pub use page::page;
pub use problem::{InvalidSettings, Notice, Problem};
pub use reader::Reader;
pub(crate) use typos::distance;
pub use typos::typos;
pub use value::{Bytes, Limit, Value};

use crate::Environment;

/// One setting: its names, what it means, its defaults and its bounds.
#[derive(Debug, Clone, Copy)]
pub struct Setting<T: 'static> {
    /// The canonical name.
    pub name: &'static str,
    /// Other names that are accepted; set to something else than the canonical name, they are an error.
    pub aliases: &'static [&'static str],
    /// What it means, in one or two sentences for the person who sets it.
    pub meaning: &'static str,
    /// The default in development, test, staging and production.
    pub default: [T; 4],
    /// The smallest value allowed.
    pub min: T,
    /// The largest value allowed.
    pub max: T,
    /// Those of the names under which a bare number is refused, because people know them in seconds.
    pub unit_required: &'static [&'static str],
}

/// A setting that is a text: it has no bounds, and its default is a sentence.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// The canonical name.
    pub name: &'static str,
    /// Other names that are accepted; set to something else than the canonical name, they are an error.
    pub aliases: &'static [&'static str],
    /// What it means, in one or two sentences for the person who sets it.
    pub meaning: &'static str,
    /// What holds where it is not set.
    pub default: &'static str,
}

/// The settings of one thing, as one part of the documentation.
#[derive(Clone, Copy)]
pub struct Group {
    /// The heading.
    pub title: &'static str,
    /// What is read.
    pub settings: &'static [&'static dyn Describe],
    /// Names that people bring from other libraries, and what to write instead.
    pub elsewhere: &'static [Foreign],
}

/// A name that other libraries read and this crate does not: it is warned of where it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// The name.
    pub name: &'static str,
    /// What to write instead, or why there is nothing to write.
    pub instead: &'static str,
    /// The setting that takes its place; where that is set, nobody is warned.
    pub unless: Option<&'static str>,
}

/// Something that describes one setting.
pub trait Describe: Sync {
    /// The description as texts.
    fn describe(&self) -> Described;
}

/// What a crate reads from settings.
pub trait FromSettings: Sized {
    /// The descriptions of everything that [`read`](FromSettings::read) reads.
    const GROUPS: &'static [&'static Group];

    /// Reads it. What is wrong goes to the reader, and something harmless stands in for it, so that the
    /// settings behind it are checked as well.
    fn read(from: &mut Reader<'_>) -> Self;
}

/// A setting's description as texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The canonical name.
    pub name: &'static str,
    /// Other names that are accepted.
    pub aliases: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
    /// Those of the names under which a bare number is refused.
    pub unit_required: &'static [&'static str],
    /// The default in development, test, staging and production.
    pub default: [String; 4],
    /// What it may be; none for a text.
    pub allowed: Option<String>,
}

impl Foreign {
    /// A name, and what to write instead.
    pub const fn new(name: &'static str, instead: &'static str) -> Self {
        Foreign { name, instead, unless: None }
    }

    /// The same, where nobody is warned while `setting` is set.
    pub const fn unless(self, setting: &'static str) -> Self {
        Foreign { unless: Some(setting), ..self }
    }
}

impl Group {
    /// Every name that is read, aliases included.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.settings
            .iter()
            .map(|setting| setting.describe())
            .flat_map(|described| std::iter::once(described.name).chain(described.aliases.iter().copied()))
    }

    /// Whether this name is read.
    pub fn reads(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

impl<T: Value> Setting<T> {
    /// The default in an environment.
    pub fn default_in(&self, environment: Environment) -> T {
        let [development, test, staging, production] = self.default;
        match environment {
            Environment::Development => development,
            Environment::Test => test,
            Environment::Staging => staging,
            Environment::Production => production,
        }
    }
}

impl<T: Value + Sync> Describe for Setting<T> {
    fn describe(&self) -> Described {
        Described {
            name: self.name,
            aliases: self.aliases,
            meaning: self.meaning,
            unit_required: self.unit_required,
            default: self.default.map(Value::print),
            allowed: Some(T::between(self.min, self.max)),
        }
    }
}

impl Describe for Text {
    fn describe(&self) -> Described {
        Described {
            name: self.name,
            aliases: self.aliases,
            meaning: self.meaning,
            unit_required: &[],
            default: [self.default; 4].map(str::to_owned),
            allowed: None,
        }
    }
}
