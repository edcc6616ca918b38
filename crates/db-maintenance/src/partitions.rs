//! Partitions: made ahead of time, taken out when their rows have outlived their use, and watched in between.

mod apply;
mod archive;
mod bound;
mod calendar;
mod catalog;
mod check;
mod convert;
mod cover;
mod drain;
mod health;
mod key;
mod mark;
mod new_tables;
#[cfg(feature = "panels")]
mod panel;
mod plan;
mod policy;
mod retention;
mod run;
mod siblings;
mod slices;
mod step;

pub use archive::{Answer, Archive, Bytes, CommandArchive, DirectoryArchive};
pub use calendar::{Every, Span};
pub use check::checks;
pub use convert::{Conversion, ConversionPlan, Converted};
pub use health::Health;
pub use key::Epoch;
pub use plan::{Held, Plan, SetPlan};
pub use policy::{Policy, SetPolicy, SubPolicy, Summary};
pub use run::{Failed, Partitions, Report, SetReport};
pub use step::{Step, Target};
