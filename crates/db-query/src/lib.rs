//! Queries beyond load and execute: several in one round trip, and rows without end in constant memory.
#![doc = include_str!("../README.md")]

pub mod batch;
mod query;
mod stream;

pub use batch::{Batch, BatchError};
pub use query::{Returning, Returns, affected, is_of_rows, returned};
pub use stream::{Reading, Rows, declare, declare_with};
