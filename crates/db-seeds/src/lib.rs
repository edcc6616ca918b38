//! Fills a database with deterministic data, by COPY.
#![doc = include_str!("../README.md")]

mod apply;
mod csv_file;
mod draw;
mod error;
mod generate;
mod keys;
mod kind;
mod ledger;
mod model;
mod plan;
mod sequences;
mod source;
mod spec;
mod subset;
mod table;
mod template;
mod value;
mod words;

pub use apply::{Applied, Progress};
pub use error::{Error, Place, Refusal, Result};
pub use generate::{Dumped, Filled, GenerateOptions, Generated, Generator, dump};
pub use plan::{Plan, SeedOptions, Status, TablePlan};
pub use source::Seeds;
pub use subset::{Masks, Subset};
