//! Queries beyond load and execute: several in one round trip, and rows without end in constant memory.
#![doc = include_str!("../README.md")]

pub mod batch;
mod kept;
mod query;
mod stream;

pub use batch::{Batch, BatchError};
pub use kept::Kept;
pub use query::{Returns, is_of_rows};
pub use stream::{Reading, Rows, declare, declare_with};
