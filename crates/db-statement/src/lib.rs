//! What one SQL statement is: its normal form, fingerprint and summary, and the tables it reads and writes.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod atoms;
mod catalogue;
mod fingerprint;
mod keyword;
mod lexer;
mod normal;
mod summary;
mod table;
mod touched;
mod values;
mod walk;

pub use fingerprint::{Fingerprint, NotAFingerprint, fingerprint};
pub use normal::normalize;
pub use summary::{LONGEST_SUMMARY, Summary, summary};
pub use table::Table;
pub use touched::{MOST_TABLES, Touched, touched};
pub use values::{MOST_VALUES, Value, ValueRole, values};

/// How many bytes of a text are read: 4 MiB, so that no text costs more than some tens of milliseconds.
///
/// What lies behind is not looked at: the normal form says so with ` …`, and [`Touched::complete`] is false.
pub const LONGEST_TEXT: usize = 4 << 20;
